"""`elastic-yolo hpa-lab --simulate`: autoscalers on modelled pods."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.metrics_server import MetricsServer
from elastic_yolo.lab.autoscaler.stream import STREAM_MANIFESTS, read_stream
from elastic_yolo.lab.lab import CONTROLLER, LOW
from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.screen import LINE_HEAD, clock, line
from elastic_yolo.lab.simulate import TierTotals, Totals, Work, simulate
from elastic_yolo.lab.simulate_stream import StreamTotals, simulate_stream
from elastic_yolo.lab.sizing import with_max
from elastic_yolo.lab.stays import Told, count_stays, describe_stays, foresee
from elastic_yolo.lab.timeline import Sample, append_samples

RATE = 300.0
"""Pictures per second at the peak, if nothing else is asked for."""
STARTUP_S = 5.0
_DURATION_S = 1800.0
# docs/sizing.md: yolov3-tiny, int8.
_COSTS_MS = {"web": 1.0, "preprocess": 4.1, "inference": 10.5}
# A consumer decodes and detects in one process.
_CONSUMER_COST_MS = _COSTS_MS["preprocess"] + _COSTS_MS["inference"]


def simulate_tiers(parsed: argparse.Namespace, tiers: Mapping[str, Tier]) -> int:
    """Simulate the three tiers, and print decisions and totals."""
    arrivals, samples = _arrivals(parsed), list[Sample]()
    costs = dict(zip(_COSTS_MS, parsed.cost_ms or _COSTS_MS.values(), strict=True))
    began = time.time()
    totals = simulate(
        [
            (
                with_max(tier, parsed.max_replicas) if parsed.max_replicas else tier,
                Work(costs[name] / 1000, parsed.startup_s),
            )
            for name, tier in tiers.items()
        ],
        arrivals,
        CONTROLLER,
        samples.append,
        partial(MetricsServer, parsed.metrics_resolution),
    )
    pictures = f"{totals.pictures:,} pictures in {clock(arrivals.duration_s)}"
    last = [
        f"{pictures}, {totals.unserved:,} rejected",
        f"overloaded for {totals.overloaded_s} s, longest wait {totals.longest_wait_s} s",
    ]
    _report(parsed, samples, began, totals, last)
    return 0


def simulate_consumers(parsed: argparse.Namespace) -> int:
    """Simulate the consumers of a stream, and print decisions and totals; raises ManifestError."""
    stream = read_stream(parsed.hpa or STREAM_MANIFESTS)
    if parsed.max_replicas:
        stream = replace(stream, tier=with_max(stream.tier, parsed.max_replicas))
    say_foreseen(parsed, stream.tier.name, foresee(stream.tier, with_external=True))
    arrivals, samples = _arrivals(parsed), list[Sample]()
    cost_ms = parsed.cost_ms[0] if parsed.cost_ms else _CONSUMER_COST_MS
    work = Work(cost_ms / 1000, parsed.startup_s)
    began = time.time()
    totals = simulate_stream(stream, work, arrivals, CONTROLLER, samples.append)
    pictures = f"{totals.pictures:,} pictures in {clock(arrivals.duration_s)}"
    last = [
        f"{pictures}, {totals.unanswered:,} left",
        f"largest lag {totals.largest_lag:,}, longest wait {totals.longest_wait_s:.0f} s",
    ]
    _report(parsed, samples, began, totals, last)
    return 0


def say_foreseen(parsed: argparse.Namespace, tier: str, reasons: Iterable[str]) -> None:
    """Print what keeps a tier from scaling whatever the load is."""
    for reason in reasons:
        print(f"{tier}: {reason}", file=sys.stderr if parsed.json else sys.stdout)


def _arrivals(parsed: argparse.Namespace) -> Arrivals:
    rate = parsed.rate or RATE
    return Arrivals(parsed.load, rate * LOW, rate, parsed.duration or _DURATION_S)


def _report(
    parsed: argparse.Namespace,
    samples: Sequence[Sample],
    began: float,
    totals: Totals | StreamTotals,
    last: Sequence[str],
) -> None:
    """Write the timeline, and print decisions, totals and `last`; or all totals as JSON."""
    if parsed.timeline:
        append_samples(parsed.timeline, [replace(one, at=began + one.at) for one in samples])
    stays = count_stays(samples)
    if parsed.json:
        print(json.dumps({**asdict(totals), "stays": stays}, indent=2))
        return
    _print_decisions(samples)
    print("\n".join([*_table(totals.tiers), *describe_stays(stays), *last]))


def _print_decisions(samples: Iterable[Sample]) -> None:
    """Print every change of pods, and each reason to stay once."""
    print(LINE_HEAD)
    told = Told()
    for sample in samples:
        new = told.is_new(sample)
        if sample.desired != sample.replicas:
            print(line(sample.at, sample))
        elif new:
            why = f"stays at {sample.replicas}: {sample.held}"
            print(line(sample.at, replace(sample, why=why)))
    print()


def _table(tiers: Sequence[TierTotals]) -> list[str]:
    head = f"{'tier':<10}  {'most pods':>9}  {'changes':>7}  {'CPU h used':>10}  requested"
    return [
        head,
        *(
            f"{one.tier:<10}  {one.peak_replicas:>9}  {one.changes:>7}  {one.cpu_hours:>10.2f}  "
            f"{one.requested_cpu_hours:>9.2f}"
            for one in tiers
        ),
        "",
    ]
