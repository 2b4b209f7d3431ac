"""Starts a service that is expected to end by itself."""

from __future__ import annotations

import os
import subprocess
import sys

from elastic_yolo.lab.processes.stack import ROOT


def start(service: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a service with these settings alone until it ends; return status and output."""
    clean = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        cwd=ROOT,
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
