"""The facts about a model in the headers of a drawn picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.request.model_headers import from_headers, to_headers

facts = st.fixed_dictionaries({name: st.text() for name in ("name", "version", "digest")})


@given(facts)
def test_names_of_any_script_survive_headers(model: dict[str, str]) -> None:
    headers = to_headers(model)

    assert from_headers(headers) == model
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_usual_names_stay_legible() -> None:
    model = {"name": "ensemble:a+b", "version": "2018.1", "digest": "sha256:00ff"}

    assert to_headers(model) == {
        "x-model-name": "ensemble:a+b",
        "x-model-version": "2018.1",
        "x-model-digest": "sha256:00ff",
    }


def test_a_missing_fact_is_an_error() -> None:
    with pytest.raises(KeyError):
        from_headers({"x-model-name": "a"})
