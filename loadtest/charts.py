"""The charts of a report, as inline SVG and as PNG, drawn by matplotlib.

Drawn in the colours of a light page. In SVG each colour becomes a variable of the page's style, so
that one drawing serves light, dark and print.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from elastic_yolo.lab.timeline import Sample
from loadtest.figures import Interval
from loadtest.tiers import of_tier, tiers_of

INK, GRID, PAPER = "#24292e", "#d9dde1", "#ffffff"
COLOURS = {
    "ink": INK, "grid": GRID,
    "offered": "#7a828a", "served": "#1a7f4b", "rejected": "#b58900",
    "failed": "#c62f2f", "p50": "#2a6fb0", "p95": "#b36200", "p99": "#5c2a86",
    "web": "#2b6fb1", "preprocess": "#b26b01", "inference": "#1b7f4c", "other": "#6b5fb0",
}  # fmt: skip
# Percentiles differ in lightness, dash and marker too, for those who see no difference of colour.
_LINES = {"p50": ("-", "o"), "p95": ("--", "s"), "p99": ("-.", "^")}
WIDTHS_IN = {"narrow": 4.2, "wide": 10.5}
"""Of the same chart for a phone and for a screen; text is as large in both."""
_PNG_WIDTH_IN = 5.2
_DPI = 150
# Of a legend: line and spaces of an entry, the mean letter, and what is left of the axes.
_ENTRY_IN, _LETTER_IN, _MARGIN_IN = 0.5, 0.075, 0.6
_ID = re.compile(r' id="([^"]*)"')
_REFERENCE = re.compile(r"#(\w+)")
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID,
    "axes.edgecolor": INK, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK,
    "ytick.color": INK, "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.8,
    "axes.titlesize": 11, "axes.titlepad": 20, "axes.titlelocation": "left",
}  # fmt: skip


@dataclass(frozen=True)
class ChartData:
    """The data of the charts."""

    intervals: Sequence[Interval]
    samples: Sequence[Sample]
    start_at: float
    duration_s: float


@dataclass(frozen=True)
class Chart:
    """A chart of one or several panels, all with the run's time as x."""

    name: str
    title: str
    panels: Sequence[Callable[[Any], None]]
    panel_height_in: float = 2.4


def charts(data: ChartData) -> list[Chart]:
    """Return the charts for which there is data."""
    made = [
        Chart("rate", "Offered and served", [lambda axes: _draw_rate(axes, data)]),
        Chart("latency", "Latency", [lambda axes: _draw_latency(axes, data)]),
        Chart("statuses", "Status codes", [lambda axes: _draw_statuses(axes, data)]),
    ]
    if not data.samples:
        return made
    panels = [_replicas_panel(data, tier) for tier in tiers_of(data.samples)]
    made.append(Chart("replicas", "Replicas", panels, panel_height_in=1.4))
    if any(sample.cpu_percent is not None for sample in data.samples):
        made.append(Chart("cpu", "CPU", [lambda axes: _draw_cpu_percent(axes, data)]))
    elif any(sample.cpu_s is not None for sample in data.samples):
        made.append(Chart("cpu", "CPU", [lambda axes: _draw_cpu_cores(axes, data)]))
    return made


@dataclass(frozen=True)
class Drawing:
    """A chart as an SVG element with the colours of the page."""

    svg: str
    left: float
    """Where its time axis begins, as a part of its width."""
    right: float


def draw(chart: Chart, data: ChartData, kind: str) -> Drawing:
    """Draw a chart, `narrow` or `wide`."""
    encoded = io.StringIO()
    # The names of clip paths depend on the salt: two drawings in one page need different ones.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": f"{chart.name}-{kind}"}):
        figure = _figure([chart], data, WIDTHS_IN[kind])
        figure.savefig(encoded, format="svg", transparent=True, metadata={"Date": None})
    text = encoded.getvalue()
    text = _without_unused_ids(text[text.index("<svg") :])
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = text.replace("<svg", '<svg aria-hidden="true"', 1)
    # All panels have the same time axis.
    axes = figure.axes[0].get_position()
    return Drawing(text, axes.x0, axes.x1)


def _without_unused_ids(svg: str) -> str:
    """Remove the names of groups, which are the same in every drawing."""
    used = set(_REFERENCE.findall(svg))
    return _ID.sub(lambda found: found[0] if found[1] in used else "", svg)


def write_png(shown: Sequence[Chart], data: ChartData, path: Path) -> None:
    """Write one or several charts, one below the other."""
    with mpl.rc_context(_STYLE):
        _figure(shown, data, _PNG_WIDTH_IN).savefig(path, dpi=_DPI, facecolor=PAPER)


def _figure(shown: Sequence[Chart], data: ChartData, width_in: float) -> Figure:
    heights = [chart.panel_height_in for chart in shown for _ in chart.panels]
    figure = Figure(figsize=(width_in, sum(heights) + 0.2), layout="constrained")
    grid = figure.subplots(
        len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    panels = [panel for chart in shown for panel in chart.panels]
    for panel, axes in zip(panels, grid[:, 0], strict=True):
        panel(axes)
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, data.duration_s)
    grid[-1, 0].set_xlabel("seconds since the start")
    return figure


def _legend(axes: Any, columns: int) -> None:
    """Write the legend between the title and the axes, where no line is: in two rows if need be."""
    labels = axes.get_legend_handles_labels()[1]
    needed_in = sum(_ENTRY_IN + _LETTER_IN * len(label) for label in labels)
    if needed_in > axes.figure.get_size_inches()[0] - _MARGIN_IN:
        columns = math.ceil(len(labels) / 2)
        axes.set_title(axes.get_title(loc="left"), pad=2 * _STYLE["axes.titlepad"] - 6)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0, columnspacing=1.2,
        handlelength=2.4, handletextpad=0.5, borderpad=0.3,
    )  # fmt: skip


def _draw_rate(axes: Any, data: ChartData) -> None:
    edges = [0.0, *(one.start_s + one.seconds for one in data.intervals)]
    counts: dict[str, list[float]] = {
        "offered": [one.per_s(one.offered) for one in data.intervals],
        "served": [one.per_s(one.served) for one in data.intervals],
        "rejected": [one.per_s(one.rejected) for one in data.intervals],
        "failed": [one.per_s(one.failed) for one in data.intervals],
    }
    for name, values in counts.items():
        if name in {"rejected", "failed"} and not any(values):
            continue
        style = "--" if name == "offered" else "-"
        axes.stairs(
            values, edges, label=name, color=COLOURS[name], linestyle=style, linewidth=1.8,
            baseline=None,
        )  # fmt: skip
    axes.set_title("Pictures per second")
    _legend(axes, 4)


def _draw_latency(axes: Any, data: ChartData) -> None:
    served = [one for one in data.intervals if one.latency_ms]
    for name, (style, marker) in _LINES.items():
        axes.plot(
            [one.middle_s for one in served], [one.latency_ms[name] for one in served],
            label=name, color=COLOURS[name], linestyle=style, marker=marker, markersize=4,
        )  # fmt: skip
    axes.set_title("Latency, ms")
    _legend(axes, 3)


def _draw_statuses(axes: Any, data: ChartData) -> None:
    found = sorted({status for one in data.intervals for status in one.statuses})
    edges = [0.0, *(one.start_s + one.seconds for one in data.intervals)]
    below = [0.0] * len(data.intervals)
    shades = _shades(found)
    for status in found:
        counts = [one.per_s(one.statuses.get(status, 0)) for one in data.intervals]
        top = [low + count for low, count in zip(below, counts, strict=True)]
        colour, hatch = shades[status]
        axes.stairs(
            top, edges, baseline=below, fill=True, label=name_status(status), facecolor=colour,
            edgecolor=INK, hatch=hatch, linewidth=0,
        )  # fmt: skip
        below = top
    axes.set_title("Responses per second by status")
    _legend(axes, 4)


def _shades(statuses: list[int]) -> dict[int, tuple[str, str | None]]:
    failures = [status for status in statuses if status not in {200, 429}]
    shades: dict[int, tuple[str, str | None]] = {
        200: (COLOURS["served"], None), 429: (COLOURS["rejected"], None)
    }  # fmt: skip
    hatches = (None, "//", "..", "xx", "\\\\", "--")
    for index, status in enumerate(failures):
        shades[status] = (COLOURS["failed"], hatches[index % len(hatches)])
    return shades


def name_status(status: int) -> str:
    """Return a status for a legend."""
    return str(status) if status else "no answer"


def colour_of(tier: str) -> str:
    """Return a tier's colour."""
    return COLOURS.get(tier, COLOURS["other"])


def _replicas_panel(data: ChartData, tier: str) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        own = of_tier(data.samples, tier)
        seconds = [sample.at - data.start_at for sample in own]
        kinds = (("desired", "--", 1.3), ("ready", "-", 2.2))
        for kind, style, width in kinds:
            # The last sample counts until the end of the run.
            axes.step(
                [*seconds, data.duration_s], [getattr(one, kind) for one in [*own, own[-1]]],
                where="post", label=kind, linestyle=style, linewidth=width,
                color=INK if kind == "desired" else colour_of(tier),
            )  # fmt: skip
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        axes.set_title(f"Pods of {tier}")
        axes.margins(y=0.15)
        _legend(axes, 2)

    return draw


def _draw_cpu_percent(axes: Any, data: ChartData) -> None:
    _draw_cpu(axes, data, "cpu_percent", "CPU in % of the CPU request")
    targets = {sample.target_percent for sample in data.samples if sample.target_percent}
    for target in sorted(targets):
        axes.axhline(target, color=INK, linestyle=":", linewidth=1.2, label=f"target {target} %")
    _legend(axes, 4)


def _draw_cpu_cores(axes: Any, data: ChartData) -> None:
    _draw_cpu(axes, data, "cpu_s", "CPU cores in use")
    _legend(axes, 3)


def _draw_cpu(axes: Any, data: ChartData, field: str, title: str) -> None:
    for tier in tiers_of(data.samples):
        known = [one for one in of_tier(data.samples, tier) if getattr(one, field) is not None]
        axes.plot(
            [one.at - data.start_at for one in known], [getattr(one, field) for one in known],
            label=tier, color=colour_of(tier),
        )  # fmt: skip
    axes.set_title(title)
