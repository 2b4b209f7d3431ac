"""The report: one self-contained HTML file, and its charts as PNG."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtest import pictures, shapes
from loadtest.charts import COLOURS, ChartData, charts, name_status, to_svg, write_png
from loadtest.figures import PERCENTILES, latencies
from loadtest.result import Result
from loadtest.slo import show
from loadtest.tiers import at_ends, decisions, of_tier, tiers_of
from loadtest.urls import without_user

# The colours of the charts for a dark page.
_DARK = {
    "ink": "#dfe3e8", "grid": "#39414a",
    "offered": "#9aa4ae", "served": "#4fc98a", "rejected": "#e3b341",
    "failed": "#ff7b72", "p50": "#6cb2f5", "p95": "#b794f6", "p99": "#f084b6",
    "web": "#6cb2f5", "preprocess": "#e3a04a", "inference": "#4fc98a", "other": "#b794f6",
}  # fmt: skip
_EXPLAINED = {
    "rate": "Offered is what the users would send if every response came within a second: a "
    "user sends nothing while waiting. Served are responses with status 200 and detections.",
    "latency": "Of served pictures, from sending to the last byte of the response.",
    "replicas": "Ready pods take traffic; desired is the autoscaler's decision.",
}
_NO_SOURCE = (
    "This report has no replicas and CPU, because their source was not given: --timeline, "
    "--prometheus or --kubernetes."
)
_NO_SAMPLES = "Replicas and CPU are unknown: {source} has no samples of this run."


@dataclass(frozen=True)
class _Section:
    name: str
    title: str
    words: str
    svg: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(result: Result) -> None:
    """Write the HTML and the PNGs."""
    data = ChartData(result.intervals, result.samples, result.start_at, result.summary.duration_s)
    made = charts(data)
    for chart in made:
        write_png([chart], data, result.plan.image(chart.name))
    write_png(made, data, result.plan.image("overview"))
    tables = _tables(result)
    sections = [
        _Section(
            chart.name,
            chart.title,
            _EXPLAINED.get(chart.name, ""),
            to_svg(chart, data),
            *tables[chart.name],
        )
        for chart in made
    ]
    result.plan.report.write_text(_render(result, sections), encoding="utf-8")


def _render(result: Result, sections: list[_Section]) -> str:
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    summary, plan = result.summary, result.plan
    latency = ", ".join(f"{name} {value:.0f} ms" for name, value in summary.latency_ms.items())
    rendered: str = jinja.get_template("report.html").render(
        title=f"Load test: {plan.shape}, up to {plan.users} pictures per second",
        headline=f"{summary.served} of {summary.sent} pictures served in {summary.duration_s:.0f} s"
        f" ({show(summary.served_per_s, '/s')}); " + (latency or "no latencies"),
        notes=_notes(result),
        verdicts=[
            {
                "objective": str(one.objective),
                "measured": "no picture was served"
                if one.measured is None
                else show(one.measured, one.objective.unit),
                "met": one.met,
            }
            for one in result.verdicts
        ],
        totals=_totals(result),
        latency_names=list(PERCENTILES),
        sizes=_sizes(result),
        charts=sections,
        decisions=decisions(result.samples, result.start_at) if result.samples else None,
        facts=_facts(result),
        light=COLOURS,
        dark=_DARK,
    )
    return rendered


def _notes(result: Result) -> list[str]:
    notes = list(result.notes)
    if result.source is None:
        notes.append(_NO_SOURCE)
    elif not result.samples:
        notes.append(_NO_SAMPLES.format(source=result.source))
    return notes


def _totals(result: Result) -> list[list[str]]:
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


def _sizes(result: Result) -> list[list[str]]:
    parts = {"all": result.answers}
    for size in pictures.SIZES:
        parts[size] = [answer for answer in result.answers if answer.picture == size]
    return [[name, *_latency_cells(latencies(part))] for name, part in parts.items()]


def _latency_cells(latency_ms: dict[str, float]) -> list[str]:
    return [f"{latency_ms[name]:.0f} ms" if latency_ms else "-" for name in PERCENTILES]


def _tables(result: Result) -> dict[str, tuple[list[str], list[list[str]]]]:
    intervals = result.intervals
    found = sorted(result.summary.statuses)
    times = [f"{one.start_s:.0f}" for one in intervals]
    tables = {
        "rate": (
            ["from second", "offered /s", "served /s", "rejected /s", "failed /s"],
            [
                [
                    f"{one.per_s(count):.1f}"
                    for count in (one.offered, one.served, one.rejected, one.failed)
                ]
                for one in intervals
            ],
        ),
        "latency": (
            ["from second", *PERCENTILES],
            [_latency_cells(one.latency_ms) for one in intervals],
        ),
        "statuses": (
            ["from second", *map(name_status, found)],
            [[str(one.statuses.get(status, 0)) for status in found] for one in intervals],
        ),
        **_tier_tables(result),
    }
    return {
        name: (head, [[time, *row] for time, row in zip(times, rows, strict=True)])
        for name, (head, rows) in tables.items()
    }


def _tier_tables(result: Result) -> dict[str, tuple[list[str], list[list[str]]]]:
    tiers = tiers_of(result.samples)
    columns = [
        at_ends(of_tier(result.samples, tier), result.intervals, result.start_at) for tier in tiers
    ]
    rows = list(zip(*columns, strict=True))
    return {
        "replicas": (
            ["from second", *(f"{tier} {what}" for tier in tiers for what in ("ready", "desired"))],
            [
                [
                    cell
                    for sample in row
                    for cell in ((str(sample.ready), str(sample.desired)) if sample else "--")
                ]
                for row in rows
            ],
        ),
        "cpu": (
            ["from second", *(f"{tier} {unit}" for tier in tiers for unit in ("%", "cores"))],
            [
                [
                    cell
                    for sample in row
                    for cell in (
                        _maybe(sample.cpu_percent if sample else None, 0),
                        _maybe(sample.cpu_s if sample else None, 2),
                    )
                ]
                for row in rows
            ],
        ),
    } if tiers else {}  # fmt: skip


def _maybe(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _facts(result: Result) -> list[tuple[str, str]]:
    plan, target = result.plan, result.target
    mix = ", ".join(f"{percent} % {size}" for size, percent in pictures.SIZES.items())
    libraries = (f"{name} {version(name)}" for name in ("locust", "gevent", "matplotlib"))
    return [
        ("command", plan.command),
        ("started", datetime.fromtimestamp(result.start_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("shape", f"{plan.shape}: {shapes.SUMMARIES[plan.shape]}; peak {plan.users} users"),
        ("load", f"a user sends one picture per second; {mix}"),
        ("target", without_user(plan.target)),
        ("model", f"{target.model} {target.version}, {target.digest}"),
        ("one picture alone", f"{target.first_ms:.0f} ms, before the run"),
        ("replicas from", result.source or "no source"),
        (
            "load generated by",
            f"{_machine()}; Python {platform.python_version()}, {', '.join(libraries)}",
        ),
    ]


def _machine() -> str:
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{len(os.sched_getaffinity(0))} CPUs, {model}, {platform.system()} {platform.release()}"
