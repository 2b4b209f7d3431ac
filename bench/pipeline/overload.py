"""Overload: several times the capacity for a minute, and the recovery after it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.pipeline.compare import BUSY
from bench.pipeline.figures import TIE
from bench.pipeline.offered import Offered, count
from bench.pipeline.turns import Candidate, TurnRunner
from client.percentile import percentile
from elastic_yolo.lab.load.client import Sample
from elastic_yolo.lab.processes.process_tree import Memory

TIMES = 5
"""The offered rate as a multiple of the capacity."""
_PEAK_S = 5.0
_PROBE_S = 10.0
_PROBE_SHARE = 0.5
_WINDOW_S = 0.5


@dataclass(frozen=True)
class Overload:
    """The outcomes of an overload, and the state after it."""

    offered: Offered
    peak_before_per_s: float
    """The rate of a closed loop right before."""
    peak_after_per_s: float
    good_over_peak: float
    """Goodput under overload divided by the mean of the two peaks."""
    normal_p50_ms: float
    """At half the capacity, before."""
    recovered_s: float | None
    """Until a half second's median was within a tenth of that; None if not within the probe."""
    memory_mb: dict[str, dict[str, Memory]]
    """By moment (start, middle, end) and tier."""


def overload(
    runner: TurnRunner, candidate: Candidate, capacity: float, seconds: float, timeout_ms: int
) -> Overload:
    """Offer five times the capacity for `seconds`; raises ProcessFailed."""
    target = replace(candidate.target, timeout_ms=timeout_ms)
    probe = {"rate": _PROBE_SHARE * capacity, "seconds": _PROBE_S, "poisson": False}
    before = runner.turn(candidate, BUSY, _PEAK_S).images_per_s
    normal_ms = median_ms(runner.load(candidate, target, probe).samples)
    memory_mb = {"start": candidate.memory()}
    runner.start(target, {"rate": TIMES * capacity, "seconds": seconds})
    time.sleep(seconds / 2)
    memory_mb["middle"] = candidate.memory()
    samples, _, _ = runner.finish()
    recovering = runner.load(candidate, target, probe).samples
    memory_mb["end"] = candidate.memory()
    after = runner.turn(candidate, BUSY, _PEAK_S).images_per_s
    offered = count(samples, TIMES, seconds, timeout_ms)
    return Overload(
        offered=offered,
        peak_before_per_s=before,
        peak_after_per_s=after,
        good_over_peak=offered.good_per_s / ((before + after) / 2),
        normal_p50_ms=normal_ms,
        recovered_s=recovered_s(recovering, normal_ms),
        memory_mb=memory_mb,
    )


def median_ms(samples: Sequence[Sample]) -> float:
    """Return the median latency of the correct responses."""
    return percentile([sample.latency_ms for sample in samples if sample.correct], 50)


def recovered_s(samples: Sequence[Sample], normal_ms: float) -> float | None:
    """Return when half a second's median was first normal again, in seconds from the start."""
    last = max((sample.scheduled_s for sample in samples), default=0.0)
    for number in range(int(last / _WINDOW_S) + 1):
        start = number * _WINDOW_S
        window = [s for s in samples if start <= s.scheduled_s < start + _WINDOW_S]
        if median_ms(window) <= normal_ms * (1 + TIE):
            return start + _WINDOW_S
    return None
