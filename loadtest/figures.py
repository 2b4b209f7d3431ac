"""The figures of a report: rates, percentiles and statuses, of the run and of its intervals."""

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
    """A whole run. Rates are means over its duration; latencies are of served pictures."""

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
        """Served pictures per second."""
        return self.served / self.duration_s

    @property
    def rejected_percent(self) -> float | None:
        """Rejected pictures (429) in per cent of all sent."""
        return 100 * self.rejected / self.sent if self.sent else None

    @property
    def failed_percent(self) -> float | None:
        """Failed pictures in per cent of all sent."""
        return 100 * self.failed / self.sent if self.sent else None


@dataclass(frozen=True)
class Interval:
    """A part of a run. A response counts in the interval in which it came."""

    start_s: float
    """Seconds since the start of the run."""
    seconds: float
    offered: float
    """Pictures that the users would send if every response came within a second."""
    served: int
    rejected: int
    failed: int
    statuses: dict[int, int]
    latency_ms: dict[str, float]

    @property
    def middle_s(self) -> float:
        """Its position in a chart."""
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

    `users` is the number of users, each since a Unix second; `per_user_s` is the pictures per
    second that one user offers. Responses after the end of the load count in the last interval.
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
