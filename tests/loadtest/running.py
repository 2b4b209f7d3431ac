"""The load test as a user runs it: a process, from the environment of `make load-tools`."""

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
_TIMEOUT_S = 100


def require(path: str) -> Path:
    """Return a program of .venv-load; without it the test is skipped."""
    if not (ROOM / "ready").exists() or not (ROOM / path).exists():
        pytest.skip(f"needs {path} in .venv-load: run `make load-tools`; this is NOT tested")
    return ROOM / path


@dataclass(frozen=True)
class Done:
    """A finished run."""

    status: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def summary(self) -> Any:
        """The contents of summary.json."""
        return json.loads((self.folder / "summary.json").read_text())


def run(folder: Path, target: str, *arguments: str) -> Done:
    """Run a load test and return its results."""
    with started(folder, target, *arguments) as process:
        stdout, stderr = process.communicate(timeout=_TIMEOUT_S)
    return Done(process.returncode, stdout, stderr, folder)


@contextmanager
def started(folder: Path, target: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a load test, which ends with the block."""
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
        except OSError:  # it has ended in the meantime
            continue
    return "\n".join(lines)
