"""The load test as people run it: a process of its own, from what `make load-tools` made."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import ROOT

ROOM = ROOT / ".venv-load"
_LONGEST_S = 100


def require(path: str) -> Path:
    """Return a program of .venv-load; without it the test is skipped."""
    if not (ROOM / "ready").exists() or not (ROOM / path).exists():
        pytest.skip(f"needs {path} in .venv-load: run `make load-tools`; this is NOT tested")
    return ROOM / path


@dataclass(frozen=True)
class Done:
    """A run that is over."""

    status: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def summary(self) -> Any:
        """The figures for programs."""
        return json.loads((self.folder / "summary.json").read_text())


def run(folder: Path, target: str, *arguments: str) -> Done:
    """Run a load test and return what came out."""
    with started(folder, target, *arguments) as process:
        stdout, stderr = process.communicate(timeout=_LONGEST_S)
    return Done(process.returncode, stdout, stderr, folder)


@contextmanager
def started(folder: Path, target: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a load test; it does not outlive the block."""
    command = [
        str(require("bin/python")), "-m", "loadtest", "run", "--target", target,
        "--out", str(folder), *arguments,
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def running_commands() -> str:
    """Return the command lines of all processes of this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return "\n".join(lines)
