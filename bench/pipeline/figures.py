"""The arithmetic of a comparison: spreads, paired ratios, and when a difference counts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# A smaller difference is within the variation of a machine.
TIE = 0.10


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, with the lowest and the highest of them."""

    median: float
    lowest: float
    highest: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def paired_ratios(measured: Sequence[float], baseline: Sequence[float]) -> list[float]:
    """Return measured / baseline of every round: both are measured at the same machine speed."""
    return [ours / theirs for ours, theirs in zip(measured, baseline, strict=True)]


def judge(ratio: float, *, lower_is_better: bool) -> str:
    """Return `tie`, `better` or `worse` for a ratio of measured to baseline."""
    if abs(ratio - 1) < TIE:
        return "tie"
    return "better" if (ratio < 1) == lower_is_better else "worse"
