"""Wait for a fact instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx


def wait_until(fact: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Return as soon as `fact` holds; fails the test if it never does."""
    until = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < until, f"never happened: {what}"


def in_flight(url: str) -> float:
    """Return how many requests a service is working on, this one not counted."""
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("elastic_yolo_requests_in_flight{"):
            return float(line.rsplit(" ", 1)[1]) - 1
    raise AssertionError("the gauge is not exported")
