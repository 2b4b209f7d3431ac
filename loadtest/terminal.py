"""The summary of a run for a terminal."""

from __future__ import annotations

from loadtest.conclusion import conclude
from loadtest.result import Result
from loadtest.slo import show


def to_lines(result: Result) -> list[str]:
    """Return the summary for a terminal."""
    summary = result.summary
    counts = f"{summary.rejected} rejected, {summary.failed} failed"
    rate = show(summary.served_per_s, "/s")
    conclusion = conclude(result)
    lines = [
        conclusion.title,
        f"{summary.sent} pictures in {summary.duration_s:.0f} s: {summary.served} served ({rate}), "
        + counts,
    ]
    if summary.latency_ms:
        values = (f"{name} {value:.0f} ms" for name, value in summary.latency_ms.items())
        lines.append("latency of served pictures: " + ", ".join(values))
    if conclusion.reasons:
        lines.append(f"of {conclusion.offered:,.0f} pictures that were offered:")
        lines += [f"  {reason}" for reason in conclusion.reasons]
    lines += [f"note: {note}" for note in result.notes]
    lines += [str(verdict) for verdict in result.verdicts]
    lines.append(f"report: {result.plan.report}")
    return lines
