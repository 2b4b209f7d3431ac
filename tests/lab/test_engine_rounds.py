"""Configurations in their own processes, taking turns."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from elastic_yolo.lab.engines.configs import EngineConfig
from elastic_yolo.lab.engines.rounds import compete


def test_model_and_cache_are_relative_to_the_current_folder(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    told: list[str] = []

    rows = compete(
        [EngineConfig("openvino")],
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


def process_of(config: EngineConfig) -> int:
    """Return the process id of a configuration."""
    name = f'"engine": "{config.engine}"'
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text()
            if ours and name in (folder / "cmdline").read_text():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError(config)


def kill_while_it_waits(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)


def kill_while_it_works(process: int) -> None:
    """Let the kernel kill it after a second of CPU time, which it will soon have used."""
    resource.prlimit(process, resource.RLIMIT_CPU, (1, 1))


@pytest.mark.parametrize(
    ("kill", "seconds"),
    [
        (kill_while_it_waits, 0.01),
        pytest.param(kill_while_it_works, 1.5, marks=pytest.mark.long),
    ],
)
def test_a_killed_contestant_is_omitted_and_others_measured(
    tiny_model: Path, kill: Callable[[int], None], seconds: float
) -> None:
    victim, other = EngineConfig("onnxruntime"), EngineConfig("openvino")
    told: list[str] = []

    def progress(text: str) -> None:
        told.append(text)
        if text == "round 1 of 2":
            kill(process_of(victim))

    rows = compete(
        [victim, other],
        tiny_model,
        threads=1,
        cache=None,
        rounds=2,
        seconds=seconds,
        progress=progress,
    )

    assert [row.engine for row in rows] == ["openvino"]
    assert told == [
        "ready: onnxruntime cpu fp32 x1",
        "ready: openvino cpu fp32 x1",
        "round 1 of 2",
        "left out: onnxruntime cpu fp32 x1: ended while it was measured",
        "round 2 of 2",
    ]
