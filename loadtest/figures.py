"""The arithmetic of a report: rates, percentiles and statuses, over the run and over its parts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from client.percentile import percentile
from loadtest.answers import Answer

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
_MOST_INTERVALS = 60


@dataclass(frozen=True)
class Summary:
    """A whole run. Rates are means over its duration, latencies those of served pictures."""

    duration_s: float
    sent: int
    served: int
    rejected: int
    failed: int
    statuses: dict[int, int]
    latency_ms: dict[str, float]
    """p50, p95, p99 and max; empty if nothing was served."""

    @property
    def served_per_s(self) -> float:
        """Served pictures a second."""
        return self.served / self.duration_s

    @property
    def rejected_percent(self) -> float | None:
        """Pictures refused with 429, of all that were sent."""
        return 100 * self.rejected / self.sent if self.sent else None

    @property
    def failed_percent(self) -> float | None:
        """Pictures that failed, of all that were sent."""
        return 100 * self.failed / self.sent if self.sent else None


@dataclass(frozen=True)
class Interval:
    """A part of a run. An answer belongs to the interval in which it came."""

    start_s: float
    """Since the start of the run."""
    seconds: float
    offered: float
    """Pictures that the users meant to send."""
    served: int
    rejected: int
    failed: int
    statuses: dict[int, int]
    latency_ms: dict[str, float]

    @property
    def middle_s(self) -> float:
        """Where a chart shows it."""
        return self.start_s + self.seconds / 2

    def per_s(self, count: float) -> float:
        """Return a count of this interval as a rate."""
        return count / self.seconds


def summarise(answers: Sequence[Answer], duration_s: float) -> Summary:
    """Return the figures of a whole run."""
    outcomes = Counter(answer.outcome for answer in answers)
    return Summary(
        duration_s=duration_s,
        sent=len(answers),
        served=outcomes["served"],
        rejected=outcomes["rejected"],
        failed=outcomes["failed"],
        statuses=_statuses(answers),
        latency_ms=latencies(answers),
    )


def latencies(answers: Sequence[Answer]) -> dict[str, float]:
    """Return p50, p95, p99 and max of served pictures in ms; empty if there are none."""
    served = sorted(answer.took_ms for answer in answers if answer.outcome == "served")
    if not served:
        return {}
    return {name: percentile(served, percent) for name, percent in PERCENTILES.items()}


def split(
    answers: Sequence[Answer],
    users: Sequence[tuple[float, int]],
    *,
    start_at: float,
    duration_s: float,
    per_user_s: float,
) -> list[Interval]:
    """Return the run in at most 60 intervals of whole seconds.

    `users` is how many there were, each from a unix second on, and `per_user_s` what one of them
    means to send a second. Answers that came after the end, from users who were let finish, are in
    the last one.
    """
    width = max(1, math.ceil(duration_s / _MOST_INTERVALS))
    number = max(1, math.ceil(duration_s / width))
    parts: list[list[Answer]] = [[] for _ in range(number)]
    for answer in answers:
        came_s = answer.sent_at + answer.took_ms / 1000 - start_at
        parts[min(number - 1, max(0, int(came_s // width)))].append(answer)
    intervals = []
    for index, part in enumerate(parts):
        outcomes = Counter(answer.outcome for answer in part)
        start_s = index * width
        seconds = min(width, duration_s - start_s)
        intervals.append(
            Interval(
                start_s=start_s,
                seconds=seconds,
                offered=_offered(users, start_at + start_s, seconds, per_user_s),
                served=outcomes["served"],
                rejected=outcomes["rejected"],
                failed=outcomes["failed"],
                statuses=_statuses(part),
                latency_ms=latencies(part),
            )
        )
    return intervals


def _offered(
    users: Sequence[tuple[float, int]], start_at: float, seconds: float, per_user_s: float
) -> float:
    end_at = start_at + seconds
    changes = [*users, (math.inf, 0)]
    return per_user_s * sum(
        number * max(0.0, min(until, end_at) - max(since, start_at))
        for (since, number), (until, _) in pairwise(changes)
    )


def _statuses(answers: Sequence[Answer]) -> dict[int, int]:
    return dict(sorted(Counter(answer.status for answer in answers).items()))
