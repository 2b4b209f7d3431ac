"""Two streams of OpenVINO may begin at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT

# Without the mend, one process in six hung.
PROCESSES = 40


@pytest.mark.long
def test_the_first_runs_of_two_streams_do_not_wait_for_each_other(tiny_model: Path) -> None:
    command = [sys.executable, "-m", "tests.detector.openvino_first_use", str(tiny_model)]
    for _ in range(PROCESSES):
        subprocess.run(command, cwd=ROOT, check=True, timeout=60)
