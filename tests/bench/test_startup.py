"""How a start is measured."""

from __future__ import annotations

from pathlib import Path

from bench.startup import measure_start


def test_a_start_is_measured_phase_by_phase(tiny_model: Path, tmp_path: Path) -> None:
    start = measure_start(tiny_model, "fp32", tmp_path / "cache", rounds=1)

    assert list(start.phases_ms) == ["imports", "model", "engine", "golden"]
    assert min(start.phases_ms.values()) >= 0
    assert start.phases_ms["imports"] > 0
    # The kernel says to a hundredth of a second when a process began.
    assert sum(start.phases_ms.values()) <= start.ready_ms + 20
    assert start.line().startswith("fp32 ")
    assert list((tmp_path / "cache").glob("*/openvino-fp32.json"))
