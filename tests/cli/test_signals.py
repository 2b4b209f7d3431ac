"""Signals that stop a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from elastic_yolo.lab.processes.stack import ROOT

PROGRAM = """
import os, signal, time
from elastic_yolo.cli import signals
with signals.StopSignals() as stopping:
    os.kill(os.getpid(), {first})
    assert stopping.stop.wait(30)
    if {later}:
        time.sleep(2 * signals.SAME_S)
    os.kill(os.getpid(), {second})
    time.sleep(0.01)
print("drained")
"""


def end(first: str, second: str, *, later: bool) -> tuple[int, str]:
    """Return status and output of a program that gets two signals."""
    program = PROGRAM.format(first=first, second=second, later=later)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ended.returncode, ended.stdout


@pytest.mark.parametrize("name", ["signal.SIGTERM", "signal.SIGINT"])
def test_a_signal_that_comes_twice_at_once_is_one(name: str) -> None:
    """`timeout` sends it to the process and to its group."""
    assert end(name, name, later=False) == (0, "drained\n")


def test_a_second_signal_ends_the_process() -> None:
    assert end("signal.SIGTERM", "signal.SIGTERM", later=True) == (-15, "")
    assert end("signal.SIGTERM", "signal.SIGINT", later=True)[0] != 0
