"""The report: one self-contained HTML file, and its charts as PNG."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtest import pictures, shapes
from loadtest.charts import (
    COLOURS,
    WIDTHS_IN,
    ChartData,
    Drawing,
    charts,
    draw,
    write_png,
)
from loadtest.conclusion import Conclusion, conclude
from loadtest.figures import PERCENTILES
from loadtest.result import Result
from loadtest.slo import show
from loadtest.tables import Table, chart_tables, sizes, totals
from loadtest.tiers import decisions
from loadtest.urls import without_user

# The colours of the charts for a dark page.
_DARK = {
    "ink": "#dfe3e8", "grid": "#39414a",
    "offered": "#9aa4ae", "served": "#4fc98a", "rejected": "#e3b341",
    "failed": "#ff7b72", "p50": "#6cb2f5", "p95": "#f0a73c", "p99": "#d6a8ff",
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


_HERE = Path(__file__).parent
_PART_NAMES = {"waiting": "not sent: users waited", "unsent": "not sent"}
_PART_COLOURS = {"waiting": "offered", "unsent": "grid"}


@dataclass(frozen=True)
class _Section:
    name: str
    title: str
    words: str
    drawings: dict[str, Drawing]
    table: Table


def write_report(result: Result) -> None:
    """Write the HTML and the PNGs."""
    data = ChartData(result.intervals, result.samples, result.start_at, result.summary.duration_s)
    made = charts(data)
    for chart in made:
        write_png([chart], data, result.plan.image(chart.name))
    write_png(made, data, result.plan.image("overview"))
    tables = chart_tables(result)
    sections = [
        _Section(
            chart.name,
            chart.title,
            _EXPLAINED.get(chart.name, ""),
            {kind: draw(chart, data, kind) for kind in WIDTHS_IN},
            tables[chart.name],
        )
        for chart in made
    ]
    result.plan.report.write_text(_render(result, sections), encoding="utf-8")


def _render(result: Result, sections: list[_Section]) -> str:
    jinja = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
    plan = result.plan
    conclusion = conclude(result)
    rendered: str = jinja.get_template("report.html").render(
        title=f"Load test: {plan.shape}, up to {plan.users} pictures per second",
        conclusion=conclusion,
        parts=_parts(conclusion),
        figures=_figures(result),
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
        totals=totals(result),
        latency_names=list(PERCENTILES),
        sizes=sizes(result),
        charts=sections,
        duration_s=result.summary.duration_s,
        decisions=decisions(result.samples, result.start_at) if result.samples else None,
        facts=_facts(result),
        light=COLOURS,
        dark=_DARK,
        style=(_HERE / "report.css").read_text(encoding="utf-8"),
        script=(_HERE / "report.js").read_text(encoding="utf-8"),
    )
    return rendered


def _figures(result: Result) -> list[tuple[str, str, str]]:
    """Return the figures at the top: name, value, unit."""
    summary = result.summary
    offered = sum(one.offered for one in result.intervals)
    latency = summary.latency_ms
    return [
        ("offered, on average", f"{offered / summary.duration_s:.1f}", "/s"),
        ("served, on average", f"{summary.served_per_s:.1f}", "/s"),
        ("p95", f"{latency['p95']:.0f}" if latency else "-", "ms"),
        ("p99", f"{latency['p99']:.0f}" if latency else "-", "ms"),
        ("rejected", _percent(summary.rejected_percent), "%"),
        ("failed", _percent(summary.failed_percent), "%"),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _parts(conclusion: Conclusion) -> list[tuple[str, str, float, str]]:
    """Return the parts of the offered pictures: name, colour, per cent, pictures."""
    whole = sum(part.pictures for part in conclusion.parts)
    return [
        (
            _PART_NAMES.get(part.name, part.name),
            _PART_COLOURS.get(part.name, part.name),
            100 * part.pictures / whole,
            f"{part.pictures:,.0f}",
        )
        for part in conclusion.parts
        if part.pictures
    ]


def _notes(result: Result) -> list[str]:
    notes = list(result.notes)
    if result.source is None:
        notes.append(_NO_SOURCE)
    elif not result.samples:
        notes.append(_NO_SAMPLES.format(source=result.source))
    return notes


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
