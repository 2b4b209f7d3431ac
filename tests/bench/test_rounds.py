"""Contestants in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contestants import Contestant
from bench.rounds import compete


def test_model_and_cache_are_looked_for_where_the_user_is(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    told: list[str] = []

    rows = compete(
        [Contestant("openvino")],
        Path(tiny_model.name),
        threads=1,
        cache=Path("cache"),
        rounds=1,
        seconds=0.01,
        progress=told.append,
    )

    assert [row.engine for row in rows] == ["openvino"]
    assert told == ["ready: openvino cpu fp32 x1", "round 1 of 1"]
    assert list((tiny_model.parent / "cache").glob("*/openvino-fp32.json"))
