"""Every rule finds its mistake, at its place, and nothing where there is none."""

from __future__ import annotations

import pytest

from tests.doctor.fine import FINE
from tests.doctor.mistakes import MISTAKES
from tests.doctor.parts import Case
from tests.doctor.sound import SOUND, change, doctor


def test_nothing_is_found_in_sound_manifests() -> None:
    assert doctor(SOUND) == []


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: f"{case.code}: {case.name}")
def test_a_mistake_is_found_and_nothing_else(case: Case) -> None:
    text = change(*case.changes)
    found = doctor(text)

    assert {(one.code, one.severity) for one in found} == {(case.code, case.severity)}
    lines = text.splitlines()
    for one in found:
        assert one.place.file == "shop.yaml"
        assert 1 <= one.place.line <= len(lines)
        assert min(len(one.what), len(one.why), len(one.fix)) > 10
    assert any(case.line in lines[one.place.line - 1] for one in found)


@pytest.mark.parametrize("case", FINE, ids=lambda case: f"{case.code}: {case.name}")
def test_what_only_looks_like_a_mistake_is_none(case: Case) -> None:
    assert doctor(change(*case.changes)) == []
