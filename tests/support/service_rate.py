"""Load on a ServiceRate, on a clock of the test's own."""

from __future__ import annotations

from services.common.queue import ServiceRate
from tests.support.clock import Clock


def complete_jobs(
    rate: ServiceRate, clock: Clock, *, jobs: int, seconds_each: float, in_flight: int
) -> None:
    """Keep `in_flight` jobs in flight, and end one after every `seconds_each`."""
    rate.begin(in_flight)
    for _ in range(jobs):
        clock.now += seconds_each
        rate.end(done=True)
        rate.begin()
    rate.end(in_flight, done=False)
