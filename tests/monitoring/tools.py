"""Prometheus and promtool, where they are installed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools.stack import ROOT

PROMETHEUS = ROOT / ".venv-monitoring" / "prometheus"
PROMTOOL = ROOT / ".venv-monitoring" / "promtool"
RULES = ROOT / "monitoring" / "rules.yaml"
DASHBOARD = ROOT / "k8s" / "components" / "monitoring" / "dashboard.json"

needs_prometheus = pytest.mark.skipif(
    not PROMTOOL.exists(), reason='Prometheus is not installed: run "make monitoring-tools"'
)


def promtool(*arguments: str | Path) -> str:
    """Run promtool; fails the test if it complains."""
    done = subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
