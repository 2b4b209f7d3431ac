"""Pairs of turns, and the results of a candidate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.pipeline.figures import Spread, paired_ratios, spread
from bench.pipeline.turns import Candidate, Turn, TurnRunner
from client.percentile import percentile
from elastic_yolo.lab.processes.process_tree import Memory

BUSY = 8
"""The number of concurrent requests in turns under load."""


@dataclass
class Pairs:
    """The turns of a candidate, alone and under load, each followed by one of the bare loop."""

    alone: list[Turn] = field(default_factory=list)
    bare_alone: list[Turn] = field(default_factory=list)
    busy: list[Turn] = field(default_factory=list)
    bare_busy: list[Turn] = field(default_factory=list)


@dataclass(frozen=True)
class Latency:
    """Milliseconds: the median of the rounds' medians, and percentiles of all requests."""

    p50: Spread
    p95: float
    p99: float


@dataclass(frozen=True)
class Result:
    """The results of one candidate; CPU is in milliseconds per request."""

    name: str
    setting: str
    busy_setting: str
    alone: Latency
    busy: Latency
    images_per_s: Spread
    p50_over_bare: Spread
    """Alone, divided by the bare loop's: 1 would mean that HTTP costs nothing."""
    rate_over_bare: Spread
    """Under load, divided by the rate of the fastest concurrent bare loop."""
    errors: int
    requests: int
    cpu_alone_ms: dict[str, float]
    cpu_busy_ms: dict[str, float]
    added_cpu_alone_ms: float
    """Of all tiers, minus the bare loop's per picture."""
    added_cpu_busy_ms: float
    client_cpu_ms: float
    bare_p50_ms: Spread
    bare_images_per_s: Spread
    bare_cpu_alone_ms: float
    bare_cpu_busy_ms: float
    memory_mb: dict[str, Memory]
    over_pipeline: dict[str, Spread] = field(default_factory=dict)
    """A peer's p50 and rate divided by the pipeline's in the same rounds."""


def pair(
    runner: TurnRunner, alone: Candidate, busy: Candidate, seconds: float, pairs: Pairs
) -> None:
    """Add one round: alone and under load, each followed by the bare loop."""
    pairs.alone.append(runner.turn(alone, 1, seconds))
    pairs.bare_alone.append(runner.bare_turn(alone=True, seconds=seconds))
    pairs.busy.append(runner.turn(busy, BUSY, seconds))
    pairs.bare_busy.append(runner.bare_turn(alone=False, seconds=seconds))


def summarise(
    alone: Candidate, busy: Candidate, pairs: Pairs, memory_mb: dict[str, Memory]
) -> Result:
    """Return the results of the pairs."""
    cpu_alone, cpu_busy = _cpu_by_tier(pairs.alone), _cpu_by_tier(pairs.busy)
    bare_alone, bare_busy = (
        _median(turns, lambda turn: turn.all_cpu_ms)
        for turns in (pairs.bare_alone, pairs.bare_busy)
    )
    return Result(
        name=alone.name,
        setting=alone.setting,
        busy_setting=busy.setting,
        alone=_latency(pairs.alone),
        busy=_latency(pairs.busy),
        images_per_s=spread(_rates(pairs.busy)),
        p50_over_bare=spread(paired_ratios(_p50s(pairs.alone), _p50s(pairs.bare_alone))),
        rate_over_bare=spread(paired_ratios(_rates(pairs.busy), _rates(pairs.bare_busy))),
        errors=sum(turn.errors for turn in [*pairs.alone, *pairs.busy]),
        requests=sum(turn.errors + len(turn.latencies_ms) for turn in [*pairs.alone, *pairs.busy]),
        cpu_alone_ms=cpu_alone,
        cpu_busy_ms=cpu_busy,
        added_cpu_alone_ms=sum(cpu_alone.values()) - bare_alone,
        added_cpu_busy_ms=sum(cpu_busy.values()) - bare_busy,
        client_cpu_ms=_median(pairs.busy, lambda turn: turn.client_cpu_ms),
        bare_p50_ms=spread(_p50s(pairs.bare_alone)),
        bare_images_per_s=spread(_rates(pairs.bare_busy)),
        bare_cpu_alone_ms=bare_alone,
        bare_cpu_busy_ms=bare_busy,
        memory_mb=memory_mb,
    )


def relative_to(peer: Pairs, pipeline: Pairs) -> dict[str, Spread]:
    """Return a peer's p50 and rate divided by the pipeline's in the same rounds."""
    return {
        "p50": spread(paired_ratios(_p50s(peer.alone), _p50s(pipeline.alone))),
        "rate": spread(paired_ratios(_rates(peer.busy), _rates(pipeline.busy))),
    }


def _latency(turns: list[Turn]) -> Latency:
    every = [latency for turn in turns for latency in turn.latencies_ms]
    return Latency(spread(_p50s(turns)), percentile(every, 95), percentile(every, 99))


def _p50s(turns: list[Turn]) -> list[float]:
    return [turn.p50_ms for turn in turns]


def _rates(turns: list[Turn]) -> list[float]:
    return [turn.images_per_s for turn in turns]


def _cpu_by_tier(turns: list[Turn]) -> dict[str, float]:
    return {
        tier: _median(turns, lambda turn, tier=tier: turn.cpu_ms[tier])  # type: ignore[misc]  # bound now
        for tier in turns[0].cpu_ms
    }


def _median(turns: list[Turn], value: Callable[[Turn], float]) -> float:
    return spread([value(turn) for turn in turns]).median
