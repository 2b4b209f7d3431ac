"""Wait for a fact instead of for a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from elastic_yolo.lab.processes.stack import ROOT


def wait_until(fact: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Return as soon as `fact` holds; fails the test if it never does."""
    until = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < until, f"never happened: {what}"
        # Without a pause it would take the CPU from the processes that it waits for.
        time.sleep(0.002)


def in_flight(url: str) -> float:
    """Return how many requests a service is working on, this one not counted."""
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("elastic_yolo_requests_in_flight{"):
            return float(line.rsplit(" ", 1)[1]) - 1
    raise AssertionError("the gauge is not exported")


@contextmanager
def serving(
    command: Sequence[str | Path], url: str, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server until the block ends; yields `url` once it answers there."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=env)
    try:
        wait_until(lambda: _answers(url, process, log), f"{url} answers", 60)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.HTTPError:
        return False
