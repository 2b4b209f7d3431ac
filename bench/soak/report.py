"""The result of a run, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bench.soak.judgement import Verdict
from bench.soak.resources import Life
from bench.soak.run import Result

_COLUMNS = tuple(Verdict)
_ROWS_OF_TIME = 12


def progress(result: Result) -> str:
    """Return one line about a run so far."""
    tally = result.tally
    memory = ", ".join(f"{life.name} {life.samples[-1][1].rss_mb:.0f}" for life in _last(result))
    return (
        f"{result.seconds:.0f} of {result.plan.seconds:.0f} s: {tally.total()} sent, "
        f"{tally.total(Verdict.WRONG)} wrong, {tally.total(Verdict.UNEXPECTED)} unexpected, "
        f"{tally.total(Verdict.LOST)} lost; MB: {memory}"
    )


def text(result: Result) -> str:
    """Return the tables and the verdict."""
    return "\n".join(
        [*_counts(result), "", *_resources(result), "", *_memory(result), "", *_verdict(result)]
    )


def to_json(result: Result) -> dict[str, Any]:
    """Return everything for programs."""
    tally = result.tally
    return {
        "passed": result.passed,
        "plan": asdict(result.plan),
        "seconds": round(result.seconds, 1),
        "never_sent": tally.never_sent,
        "kinds": {
            kind: {one.value: counts[one] for one in _COLUMNS}
            for kind, counts in sorted(tally.counts.items())
        },
        "total": {one.value: tally.total(one) for one in _COLUMNS},
        "examples": tally.examples,
        "grown": result.grown,
        "processes": [
            {
                "name": life.name,
                "pid": life.pid,
                "started_s": round(life.started_s, 1),
                "samples": [
                    {"at_s": round(at_s, 1), **asdict(usage)} for at_s, usage in life.samples
                ],
            }
            for life in result.lives
        ],
    }


def _counts(result: Result) -> Iterator[str]:
    tally = result.tally
    width = max(map(len, tally.counts), default=0)
    yield f"{'':{width}}  {'sent':>8}" + "".join(f"{one.value:>11}" for one in _COLUMNS)
    for kind, counts in [*sorted(tally.counts.items()), ("all", None)]:
        numbers = [tally.total(one) if counts is None else counts[one] for one in _COLUMNS]
        yield f"{kind:{width}}  {sum(numbers):>8}" + "".join(f"{one:>11}" for one in numbers)
    if tally.never_sent:
        yield f"{tally.never_sent} more were due while {result.plan.concurrency} waited: not sent"


def _resources(result: Result) -> Iterator[str]:
    plan, limits = result.plan, result.plan.limits
    yield f"at the start, {plan.warm_up_s:.0f} s later and at the end; after the warm-up, a process"
    yield (
        f"may grow by {limits.rss_mb:g} MB, {limits.descriptors} descriptors "
        f"and {limits.threads} threads"
    )
    yield f"{'process':14}{'lived':>9}{'RSS in MB':>22}{'descriptors':>18}{'threads':>16}"
    last = _last(result)
    for life in last:
        yield f"{life.name:14}{f'{life.samples[-1][0] - life.started_s:.0f} s':>9}" + "".join(
            f"{_series(life, name, plan.warm_up_s):>{width}}"
            for name, width in (("rss_mb", 22), ("descriptors", 18), ("threads", 16))
        )
    if len(result.lives) > len(last):
        yield f"{len(result.lives) - len(last)} earlier processes were killed or drained"


def _series(life: Life, name: str, warm_up_s: float) -> str:
    ends = life.growth(warm_up_s) or (None, life.samples[-1][1])
    usages = [life.samples[0][1], *ends]
    return " ".join("-" if one is None else f"{getattr(one, name):.0f}" for one in usages)


def _memory(result: Result) -> Iterator[str]:
    names = list(dict.fromkeys(life.name for life in result.lives))
    yield f"{'RSS in MB at':>14}" + "".join(f"{name:>14}" for name in names)
    for number in range(_ROWS_OF_TIME + 1):
        at_s = result.seconds * number / _ROWS_OF_TIME
        values = [_rss_at(result, name, at_s) for name in names]
        yield f"{at_s:>12.0f} s" + "".join(f"{value:>14}" for value in values)


def _rss_at(result: Result, name: str, at_s: float) -> str:
    samples = [sample for life in result.lives if life.name == name for sample in life.samples]
    nearest = min(samples, key=lambda sample: abs(sample[0] - at_s), default=None)
    return "-" if nearest is None else f"{nearest[1].rss_mb:.0f}"


def _verdict(result: Result) -> Iterator[str]:
    yield from result.tally.examples
    yield from result.grown
    if result.passed:
        yield (
            f"passed, seed {result.plan.seed}: nothing wrong, unexpected or lost, "
            "and no process grew beyond its limit"
        )
    else:
        minutes = f"MINUTES={result.plan.seconds / 60:g}"
        again = f"--seed {result.plan.seed} --rate {result.plan.rate:g}"
        yield f"FAILED; the same requests again: make soak {minutes} SOAK_FLAGS='{again}'"


def _last(result: Result) -> list[Life]:
    return list({life.name: life for life in result.lives}.values())
