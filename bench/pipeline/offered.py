"""Offered load: requests arrive at a rate, whether or not earlier ones have a response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.pipeline.turns import Candidate, TurnRunner
from client.percentile import percentile
from elastic_yolo.lab.load.client import Sample

SHARES = (0.25, 0.5, 0.75, 0.9, 1.1, 1.5)
"""Parts of the rate that a closed loop reaches."""
_REFUSED = 429


@dataclass(frozen=True)
class Offered:
    """The outcomes of the requests at one rate; times in milliseconds."""

    share: float
    """Of the capacity."""
    offered_per_s: float
    good_per_s: float
    """Correct responses within the caller's budget."""
    accepted_p50_ms: float
    """Of the correct responses, from when the request was due."""
    accepted_p95_ms: float
    accepted_p99_ms: float
    within_budget: float
    """Part of the correct responses."""
    refused_p50_ms: float
    """Of the responses 429."""
    refused_p99_ms: float
    refused_without_retry_after: int
    statuses: dict[int, int]
    """Counts by status; 0 is no response."""
    wrong: int
    """Responses 200 with wrong detections."""


def offer(
    runner: TurnRunner,
    candidate: Candidate,
    rate: float,
    share: float,
    seconds: float,
    timeout_ms: int,
) -> Offered:
    """Offer `rate` requests per second at random times; raises ProcessFailed."""
    target = replace(candidate.target, timeout_ms=timeout_ms)
    load = runner.load(candidate, target, {"rate": rate, "seconds": seconds})
    return count(load.samples, share, seconds, timeout_ms)


def sweep(
    runner: TurnRunner, candidate: Candidate, capacity: float, seconds: float, timeout_ms: int
) -> list[Offered]:
    """Offer one share of the capacity after the other; raises ProcessFailed."""
    return [
        offer(runner, candidate, share * capacity, share, seconds, timeout_ms) for share in SHARES
    ]


def count(samples: Sequence[Sample], share: float, seconds: float, timeout_ms: int) -> Offered:
    """Return the outcomes of requests that were offered for `seconds`."""
    right = [sample.latency_ms for sample in samples if sample.correct]
    refused = [sample for sample in samples if sample.status == _REFUSED]
    refused_ms = [sample.latency_ms for sample in refused]
    in_time = sum(latency <= timeout_ms for latency in right)
    statuses = Counter(sample.status for sample in samples)
    return Offered(
        share=share,
        offered_per_s=len(samples) / seconds,
        good_per_s=in_time / seconds,
        accepted_p50_ms=percentile(right, 50),
        accepted_p95_ms=percentile(right, 95),
        accepted_p99_ms=percentile(right, 99),
        within_budget=in_time / max(1, len(right)),
        refused_p50_ms=percentile(refused_ms, 50),
        refused_p99_ms=percentile(refused_ms, 99),
        refused_without_retry_after=sum(sample.retry_after_s is None for sample in refused),
        statuses=dict(sorted(statuses.items())),
        wrong=statuses[200] - len(right),
    )
