"""Runs the console command in a subprocess."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from elastic_yolo.lab.processes.stack import ROOT


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run `elastic-yolo` from the sources here; return status, stdout and stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "elastic_yolo.cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr
