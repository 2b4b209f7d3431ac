"""Damaged model folders fail with a ModelError, fast and in little memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from tests.detector.bounded_run import MOST_CPU_S
from tests.detector.damaged_files import DAMAGES
from tests.support.tiny import write_tiny_model

Read = Callable[[Path], dict[str, Any]]


@pytest.fixture(scope="module")
def read_bounded() -> Iterator[Read]:
    """Read a folder in 200 MB and 2 s of CPU: see tests/detector/bounded_run.py."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.detector.bounded_run"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def read(folder: Path) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield read


def test_a_valid_folder_is_read_within_the_bounds(read_bounded: Read, tmp_path: Path) -> None:
    answer = read_bounded(write_tiny_model(tmp_path / "model"))

    assert answer.keys() == {"cpu_s"}
    assert answer["cpu_s"] < 1


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_refused_fast_and_in_little_memory(
    read_bounded: Read, tmp_path: Path, name: str
) -> None:
    damage, message = DAMAGES[name]
    folder = write_tiny_model(tmp_path / "model")
    damage(folder)

    answer = read_bounded(folder)

    assert answer.keys() == {"cpu_s", "refused"}, answer
    assert re.search(message, answer["refused"]), answer
    assert answer["refused"].isprintable()
    assert len(answer["refused"]) <= 1000
    assert answer["cpu_s"] < 1 < MOST_CPU_S
