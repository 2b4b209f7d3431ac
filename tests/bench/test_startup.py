"""Measuring a start."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.startup import measure_start
from elastic_yolo.detector.engines.choose import offered_precisions


def test_a_start_is_measured_phase_by_phase(tiny_model: Path, tmp_path: Path) -> None:
    start = measure_start(tiny_model, "fp32", tmp_path / "cache", rounds=1)

    assert list(start.phases_ms) == ["imports", "model", "engine", "golden"]
    assert min(start.phases_ms.values()) >= 0
    assert start.phases_ms["imports"] > 0
    # The kernel records a process's start to a hundredth of a second.
    assert sum(start.phases_ms.values()) <= start.ready_ms + 20
    assert start.line().startswith("fp32 ")
    assert list((tmp_path / "cache").glob("*/openvino-fp32.json"))


def test_the_environment_does_not_change_a_measured_start(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Model and cache are relative to the current folder."""
    monkeypatch.chdir(tiny_model.parent)
    monkeypatch.setenv("ENGINE", "darknet")
    monkeypatch.setenv("LOG_LEVEL", "error")

    start = measure_start(Path(tiny_model.name), "fp16", Path("cache"), rounds=1)

    here = "fp16" if "fp16" in offered_precisions("openvino", "cpu") else "fp32"
    assert start.precision == here
    assert list((tiny_model.parent / "cache").glob("*/openvino-*.json"))
