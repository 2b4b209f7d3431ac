"""Manifests as other projects have them, without a mistake: the doctor finds nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doctor_cases import examine_text

SOUND = sorted((Path(__file__).parent / "sound").glob("*.yaml"))


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_nothing_is_found_in_sound_manifests(path: Path) -> None:
    assert examine_text(path.read_text()) == []
