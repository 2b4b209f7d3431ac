"""The rule for names that travel between tiers, and the names that are suggested."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from elastic_yolo.names import NAME, Name, suggest_name


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("my model (1)", "my-model-1"),
        ("siec 100%", "siec-100"),
        ("a+b", "a-b"),
        ("a/b", "a-b"),
        ("ensemble:a+b", "ensemble-a-b"),
        ("best@stable=5,x", "best-stable-5-x"),
        (".hidden", "hidden"),
        ("_private", "private"),
        ("'quoted'", "quoted"),
        ("r\u00e9seau", "reseau"),
        ("\u4eba\u8138", "model"),
        ("x" * 150, "x" * 100),
        ("", "model"),
    ],
)
def test_a_name_that_cannot_travel_gets_a_similar_one(text: str, suggested: str) -> None:
    assert not NAME.fullmatch(text)
    assert suggest_name(text) == suggested


@given(st.text(max_size=300))
def test_a_suggested_name_is_valid_and_a_valid_name_stays(text: str) -> None:
    suggested = suggest_name(text)

    assert NAME.fullmatch(suggested)
    assert suggest_name(suggested) == suggested.rstrip("._-")


@pytest.mark.parametrize("name", ["a", "7", "yolov3-tiny_3l", "v1.2.3", "A..b", "x" * 100])
def test_names_that_work_everywhere_are_valid(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "a b", "a\n", "a+b", "-a", ".a", "\u017c", "x" * 101, "a\u0660"]
)
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValidationError, match="expected at most 100 letters, digits, dots"):
        TypeAdapter(Name).validate_python(name)
