"""Matches the samples of the tiers to the intervals of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from elastic_yolo.lab.timeline import Sample
from elastic_yolo.tiers import TIERS
from loadtest.figures import Interval


@dataclass(frozen=True)
class Decision:
    """A change of the desired number of pods of a tier."""

    second: float
    tier: str
    before: int
    after: int
    why: str


def tiers_of(samples: Sequence[Sample]) -> list[str]:
    """Return the tiers of the samples in the order of TIERS, unknown ones last."""
    found = {sample.tier for sample in samples}
    return [tier for tier in TIERS if tier in found] + sorted(found.difference(TIERS))


def of_tier(samples: Sequence[Sample], tier: str) -> list[Sample]:
    """Return the samples of one tier."""
    return [sample for sample in samples if sample.tier == tier]


def at_ends(
    samples: Sequence[Sample], intervals: Sequence[Interval], start_at: float
) -> list[Sample | None]:
    """Return the latest sample at the end of each interval; None before the first one.

    `samples` are of one tier, ordered by time.
    """
    newest: list[Sample | None] = []
    index = 0
    latest = None
    for interval in intervals:
        end_at = start_at + interval.start_s + interval.seconds
        while index < len(samples) and samples[index].at <= end_at:
            latest = samples[index]
            index += 1
        newest.append(latest)
    return newest


def decisions(samples: Sequence[Sample], start_at: float) -> list[Decision]:
    """Return every change of the desired number of pods, ordered by time."""
    found = []
    for tier in tiers_of(samples):
        own = of_tier(samples, tier)
        for before, after in pairwise(own):
            if before.desired != after.desired:
                second = after.at - start_at
                found.append(Decision(second, tier, before.desired, after.desired, after.why))
    return sorted(found, key=lambda decision: decision.second)
