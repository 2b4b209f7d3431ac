"""The whole lesson: locust puts load on the lab, which scales; one report shows both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from selenium import webdriver

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.lab.timeline import read_timeline
from tests.loadtest.reports import locust_total, rows, visit
from tests.loadtest.running import require, run

# At twenty times the speed, the two minutes of the scale-down window are six seconds.
SPEED = "20"
# The lab runs longer than the load, until the pods have been removed.
STEP = ("--shape", "step", "--users", "16", "--duration", "40")
LAB_S = "85"


@contextmanager
def lab(timeline: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run the lab without a load of its own; yields once it prints its address."""
    command = [
        sys.executable, "-m", "elastic_yolo.cli", "hpa-lab", "--load", "none", "--json",
        "--port", str(port),
        "--speed", SPEED, "--duration", LAB_S, "--max-replicas", "3", "--timeline", str(timeline),
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            next(line for line in process.stderr if line.startswith("target: "))
            yield process
        finally:
            process.terminate()


@pytest.mark.long
@pytest.mark.timeout(300)
def test_pods_follow_the_load_and_the_report_shows_it(
    tmp_path: Path, browser: webdriver.Chrome
) -> None:
    require("ready")
    timeline, port = tmp_path / "lab.jsonl", free_port()
    with lab(timeline, port) as process:
        done = run(
            tmp_path / "report", f"http://{LOOPBACK}:{port}", *STEP,
            "--timeline", str(timeline), "--slo", "errors=0%",
        )  # fmt: skip
        _, errors = process.communicate(timeout=110)
    pods = [sample.replicas for sample in read_timeline(timeline) if sample.tier == "inference"]
    visit(browser, (done.folder / "report.html").as_uri())
    shown = [int(row[5]) for row in rows(browser, "#replicas")]
    whole = {row[0]: row[1:] for row in rows(browser, "#whole") if len(row) == 4}
    decisions = [row[2] for row in rows(browser, "#decisions") if row[1] == "inference"]

    assert done.status == 0, done.stderr
    assert process.returncode == 0, errors
    changes = [number for number, _ in groupby(pods)]
    assert (changes[0], changes[-1]) == (1, 1)
    assert max(changes) > 1
    assert shown[0] == 1
    assert max(shown) > 1
    assert decisions[0].startswith("1 → ")
    total = locust_total(done.folder)
    assert whole["sent"][0] == total["Request Count"]
    assert whole["failed"][0] == total["Failure Count"] == "0"
    assert browser.get_log("browser") == []
