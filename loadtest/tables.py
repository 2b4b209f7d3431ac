"""The tables of a report, as text. The charts show the values of the same tables on hover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elastic_yolo.lab.timeline import Sample
from loadtest import pictures
from loadtest.charts import COLOURS, name_status
from loadtest.figures import PERCENTILES, latencies
from loadtest.result import Result
from loadtest.tiers import at_ends, of_tier, tiers_of

_STATUS_COLOURS = {200: "served", 429: "rejected"}
_TIME = "from second"


@dataclass(frozen=True)
class Table:
    """A chart's numbers: a row for each interval, whose first cell is its start in seconds."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    colours: Sequence[str]
    """The name of each column's colour in the chart, empty for none."""


def totals(result: Result) -> list[list[str]]:
    """Return the counts of the whole run: name, pictures, per second, per cent of all."""
    summary = result.summary
    counts = {
        "sent": summary.sent,
        "served": summary.served,
        "rejected (429)": summary.rejected,
        "failed": summary.failed,
    }
    return [
        [
            name,
            str(count),
            f"{count / summary.duration_s:.1f}",
            f"{100 * count / summary.sent:.2f}" if summary.sent else "-",
        ]
        for name, count in counts.items()
    ]


def sizes(result: Result) -> list[list[str]]:
    """Return the latency of all pictures, and of each size: name, p50, p95, p99, max."""
    parts = {"all": result.answers}
    for size in pictures.SIZES:
        parts[size] = [answer for answer in result.answers if answer.picture == size]
    return [[name, *_latency_cells(latencies(part))] for name, part in parts.items()]


def chart_tables(result: Result) -> dict[str, Table]:
    """Return the table of each chart, by the chart's name."""
    tables = {"rate": _rate(result), "latency": _latency(result), "statuses": _statuses(result)}
    if result.samples:
        tables |= {"replicas": _replicas(result), "cpu": _cpu(result)}
    return tables


def _table(result: Result, columns: dict[str, str], rows: Sequence[Sequence[str]]) -> Table:
    times = [f"{one.start_s:.0f}" for one in result.intervals]
    return Table(
        [_TIME, *columns],
        [[time, *row] for time, row in zip(times, rows, strict=True)],
        ["", *columns.values()],
    )


def _rate(result: Result) -> Table:
    names = ("offered", "served", "rejected", "failed")
    rows = [[f"{one.per_s(getattr(one, name)):.1f}" for name in names] for one in result.intervals]
    return _table(result, {f"{name} /s": name for name in names}, rows)


def _latency(result: Result) -> Table:
    columns = {name: name if name in COLOURS else "" for name in PERCENTILES}
    return _table(result, columns, [_latency_cells(one.latency_ms) for one in result.intervals])


def _statuses(result: Result) -> Table:
    found = sorted(result.summary.statuses)
    columns = {name_status(status): _STATUS_COLOURS.get(status, "failed") for status in found}
    rows = [[str(one.statuses.get(status, 0)) for status in found] for one in result.intervals]
    return _table(result, columns, rows)


def _replicas(result: Result) -> Table:
    columns = {
        f"{tier} {kind}": "ink" if kind == "desired" else _colour(tier)
        for tier in tiers_of(result.samples)
        for kind in ("ready", "desired")
    }
    rows = [
        [
            cell
            for sample in samples
            for cell in ((str(sample.ready), str(sample.desired)) if sample else "--")
        ]
        for samples in _samples_at_ends(result)
    ]
    return _table(result, columns, rows)


def _cpu(result: Result) -> Table:
    columns = {
        f"{tier} {unit}": _colour(tier)
        for tier in tiers_of(result.samples)
        for unit in ("%", "cores")
    }
    rows = [
        [
            cell
            for sample in samples
            for cell in (
                _maybe(sample.cpu_percent if sample else None, 0),
                _maybe(sample.cpu_s if sample else None, 2),
            )
        ]
        for samples in _samples_at_ends(result)
    ]
    return _table(result, columns, rows)


def _samples_at_ends(result: Result) -> list[tuple[Sample | None, ...]]:
    """Return the latest sample of each tier at the end of each interval."""
    columns = [
        at_ends(of_tier(result.samples, tier), result.intervals, result.start_at)
        for tier in tiers_of(result.samples)
    ]
    return list(zip(*columns, strict=True))


def _colour(tier: str) -> str:
    return tier if tier in COLOURS else "other"


def _latency_cells(latency_ms: dict[str, float]) -> list[str]:
    return [f"{latency_ms[name]:.0f} ms" if latency_ms else "-" for name in PERCENTILES]


def _maybe(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
