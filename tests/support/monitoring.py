"""Helpers to run Prometheus and promtool, if they are installed."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from tests.support.waiting import serving

PROMETHEUS = ROOT / ".venv-monitoring" / "prometheus"
PROMTOOL = ROOT / ".venv-monitoring" / "promtool"
RULES = ROOT / "monitoring" / "rules.yaml"
DASHBOARD = ROOT / "k8s" / "components" / "monitoring" / "dashboard.json"

needs_prometheus = pytest.mark.skipif(
    not PROMTOOL.exists(), reason='Prometheus is not installed: run "make monitoring-tools"'
)


def promtool(*arguments: str | Path) -> str:
    """Run promtool; fails the test if it reports an error."""
    done = subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(
    folder: Path, jobs: Mapping[str, Sequence[str]], rules: Sequence[Path] = ()
) -> Iterator[str]:
    """Run Prometheus, which scrapes the addresses of each job every second; yields its URL."""
    address = f"{LOOPBACK}:{free_port()}"
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in rules],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(targets)}]}
            for job, targets in jobs.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command: list[str | Path] = [
        PROMETHEUS,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
    ]
    log = folder / "prometheus.log"
    with serving(command, f"http://{address}/-/ready", log):
        yield f"http://{address}"


def ask(url: str, query: str) -> list[float]:
    """Return the values of a query, without NaN (as from 0/0)."""
    answer = httpx.get(f"{url}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", f"{query}: {answer.get('error')}"
    found = [float(one["value"][1]) for one in answer["data"]["result"]]
    return [value for value in found if not math.isnan(value)]
