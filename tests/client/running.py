"""The client as a user runs it: a process."""

from __future__ import annotations

import os
import subprocess
import sys

from elastic_yolo.lab.processes.stack import ROOT

GOOD = {"success": "true", "uid": "0" * 32, "data": [["cat", 0.9, [1, 2.5, 3, 4]]]}
"""A response with one detection."""


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start the client in another folder than the repository."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "client" / "client.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "COLUMNS": "100"},
    )


def run(*arguments: str) -> tuple[int, str, str]:
    """Run the client; return its exit status, stdout and stderr."""
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err
