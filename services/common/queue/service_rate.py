"""How fast work gets done, measured while there is work: what a newcomer would have to wait."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from services.common.request.errors import TooManyRequests

# Seconds of work that the measured rate looks back on: long enough to be calm at a few jobs a
# second, short enough to notice a pod that came or went.
_WINDOW_S = 2.0
# With little to do, jobs get done as slowly as they arrive. What was possible under load is
# remembered for that reason, and counts half as much after so many seconds of work.
_HALF_LIFE_S = 10.0


class ServiceRate:
    """Counts jobs in flight and how many get done a second.

    By Little's law a newcomer behind n jobs waits (n + 1) / rate seconds for its own answer,
    wherever in the tiers behind the time is spent. Idle time does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet: no wait is predicted before the first job is done."""
        self._clock = clock
        self._at = clock()
        self._done = 0.0
        self._busy_s = 0.0
        self._best = 0.0
        self.in_flight = 0

    def begin(self, jobs: int = 1) -> None:
        """Count so many jobs as in flight."""
        self._advance()
        self.in_flight += jobs

    def end(self, jobs: int = 1, *, done: bool) -> None:
        """Count so many jobs as over; `done` is false for those that nobody worked on."""
        self._advance()
        self.in_flight -= jobs
        if done:
            self._done += jobs
            self._best = max(self._best, self._rate())

    def lower(self) -> None:
        """Forget what was possible: a job was late or refused although it should have fitted."""
        self._advance()
        self._best = self._rate()

    def wait_s(self) -> float:
        """Return the seconds in which a job that comes now can expect to be done.

        0 while nobody is in flight or nothing is known: the first one is never too many.
        """
        self._advance()
        if self.in_flight == 0 or self._busy_s == 0:
            return 0.0
        rate = max(self._best, self._rate())
        # Nothing was ever done: no rate to predict from.
        return (self.in_flight + 1) / rate if rate > 0 else 0.0

    def refuse_if_late(self, limit: int, budget_s: float, what: str = "requests queued") -> None:
        """Raise TooManyRequests if `limit` jobs are in flight, or one more would end too late.

        `what` says what they are doing, and Retry-After when one more would be in time.
        """
        wait_s = self.wait_s()
        if self.in_flight < limit and wait_s <= budget_s:
            return
        again_s = seconds_to_wait(wait_s, budget_s)
        raise TooManyRequests(
            f"{self.in_flight} {what}, and one more would take about {wait_s:.1f} s: "
            f"try again in {again_s} s",
            again_s,
            "queue_full" if self.in_flight >= limit else "would_be_late",
        )

    def _rate(self) -> float:
        return self._done / self._busy_s if self._busy_s > 0 else 0.0

    def _advance(self) -> None:
        now = self._clock()
        spent, self._at = now - self._at, now
        if self.in_flight == 0 or spent <= 0:
            return
        keep = math.exp(-spent / _WINDOW_S)
        self._done *= keep
        # The integral of what is kept of each moment: exact for any step.
        self._busy_s = self._busy_s * keep + _WINDOW_S * (1 - keep)
        self._best *= 0.5 ** (spent / _HALF_LIFE_S)


def seconds_to_wait(wait_s: float, budget_s: float) -> int:
    """Return Retry-After: whole seconds until a wait of `wait_s` has shrunk to `budget_s`."""
    return max(1, math.ceil(wait_s - budget_s))
