"""Rates and quantiles of what processes have counted, between snapshots of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from services.common.core.live import ProcessSnapshot

# Of a process: as many snapshots as make its rate steady, and still show a change at once.
_KEPT = 4


@dataclass(frozen=True)
class Step:
    """What one process did between two snapshots."""

    seconds: float
    statuses: Counter[str]
    arrived: int
    buckets: tuple[int, ...]
    """Requests by duration: one more than there are bounds."""
    cpu_s: float


def step_between(before: ProcessSnapshot, after: ProcessSnapshot) -> Step:
    """Return what a process did from one of its snapshots to a later one."""
    statuses = Counter(after.statuses)
    statuses.subtract(before.statuses)
    done = sum(statuses.values())
    return Step(
        max(1e-6, after.age_s - before.age_s),
        +statuses,
        max(0, done + after.in_flight - before.in_flight),
        tuple(
            max(0, now - then)
            for now, then in zip(_by_duration(after), _by_duration(before), strict=True)
        ),
        max(0.0, after.cpu_s - before.cpu_s),
    )


def _by_duration(process: ProcessSnapshot) -> list[int]:
    cumulative = [0, *(count for _, count in process.seconds), sum(process.statuses.values())]
    return [after - before for before, after in pairwise(cumulative)]


class Recent:
    """The latest snapshots of a process."""

    def __init__(self, first: ProcessSnapshot) -> None:
        """Start with one, which tells no rate."""
        self._kept: deque[ProcessSnapshot] = deque([first], maxlen=_KEPT)

    def add(self, process: ProcessSnapshot) -> Step:
        """Take the next snapshot; return what the process did since the last one."""
        last = self._kept[-1]
        self._kept.append(process)
        return step_between(last, process)

    @property
    def last(self) -> ProcessSnapshot:
        """The latest snapshot."""
        return self._kept[-1]

    def over_all(self) -> Step:
        """Return what the process did from the oldest snapshot to the latest."""
        return step_between(self._kept[0], self._kept[-1])


def quantile_ms(bounds_s: Iterable[float], buckets: Iterable[int], part: float) -> float | None:
    """Return the duration within which a part of the requests ended, in milliseconds.

    Within a bucket they count as evenly spread. None without requests. What took longer than the
    last bound counts as that.
    """
    bounds = list(bounds_s)
    counts = list(buckets)
    wanted = part * sum(counts)
    if wanted == 0:
        return None
    below, lower = 0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= wanted:
            return 1000 * (lower + (bound - lower) * (wanted - below) / count)
        below, lower = below + count, bound
    return 1000 * bounds[-1]
