"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.pipeline.compare import BUSY, Result
from bench.pipeline.figures import TIE, Spread, judge
from bench.pipeline.offered import Offered
from bench.pipeline.overload import Overload
from bench.pipeline.scaling import FAIR, ScalingResult
from bench.pipeline.swaps import Swaps


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns that fit their widest cell; the first is aligned left."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def range_of(value: Spread, digits: int = 2) -> str:
    """Return `median (lowest-highest)`."""
    return f"{value.median:.{digits}f} ({value.lowest:.{digits}f}-{value.highest:.{digits}f})"


def latency_table(results: Sequence[Result]) -> str:
    """Return latencies and rates, with the bare loop's."""
    head = (
        "candidate",
        "c=1 p50 ms",
        "p95",
        "p99",
        "x bare p50",
        f"c={BUSY} p50 ms",
        "p95",
        "p99",
        "pictures/s",
        "x best bare",
        "errors",
    )
    rows = [
        (
            result.name,
            range_of(result.alone.p50),
            f"{result.alone.p95:.2f}",
            f"{result.alone.p99:.2f}",
            range_of(result.p50_over_bare),
            range_of(result.busy.p50),
            f"{result.busy.p95:.2f}",
            f"{result.busy.p99:.2f}",
            range_of(result.images_per_s, 1),
            range_of(result.rate_over_bare),
            f"{result.errors}/{result.requests}",
        )
        for result in results
    ]
    first = results[0]
    bare = (
        "bare loop",
        range_of(first.bare_p50_ms),
        *["-"] * 6,
        range_of(first.bare_images_per_s, 1),
        *["-"] * 2,
    )
    return table(head, [bare, *rows])


def cpu_table(results: Sequence[Result]) -> str:
    """Return the CPU cost of a request by tier, in milliseconds."""
    head = ("candidate", "load", "all tiers", "bare loop", "added", "client", "by tier")
    rows = []
    for result in results:
        for load, cpu, bare, added in (
            ("c=1", result.cpu_alone_ms, result.bare_cpu_alone_ms, result.added_cpu_alone_ms),
            (f"c={BUSY}", result.cpu_busy_ms, result.bare_cpu_busy_ms, result.added_cpu_busy_ms),
        ):
            numbers = [f"{ms:.2f}" for ms in (sum(cpu.values()), bare, added)]
            tiers = ", ".join(f"{tier} {ms:.2f}" for tier, ms in cpu.items())
            rows.append((result.name, load, *numbers, f"{result.client_cpu_ms:.2f}", tiers))
    return table(head, rows)


def memory_table(results: Sequence[Result]) -> str:
    """Return the memory after the load, in millions of bytes."""
    rows = [
        (result.name, tier, f"{sizes.rss_mb:.0f}", f"{sizes.pss_mb:.0f}")
        for result in results
        for tier, sizes in result.memory_mb.items()
    ]
    return table(("candidate", "tier", "RSS MB", "PSS MB"), rows)


def offered_table(rates: Sequence[Offered]) -> str:
    """Return the outcomes of requests at several offered rates."""
    head = ("of capacity", "offered/s", "good/s", "p50 ms", "p95", "p99", "429s", "other failures")
    rows = []
    for rate in rates:
        right, refused = rate.statuses.get(200, 0) - rate.wrong, rate.statuses.get(429, 0)
        latencies = (rate.accepted_p50_ms, rate.accepted_p95_ms, rate.accepted_p99_ms)
        rows.append(
            (
                f"{rate.share:.0%}",
                f"{rate.offered_per_s:.1f}",
                f"{rate.good_per_s:.1f}",
                *(f"{latency:.1f}" for latency in latencies),
                str(refused),
                str(sum(rate.statuses.values()) - right - refused),
            )
        )
    return table(head, rows)


def overload_lines(result: Overload, seconds: float, timeout_ms: int) -> str:
    """Return the results of an overload, one per line."""
    offered = result.offered
    recovered = "not within the probe" if result.recovered_s is None else f"{result.recovered_s} s"
    held = "; ".join(
        f"{moment} " + ", ".join(f"{tier} {size.rss_mb:.0f}" for tier, size in sizes.items())
        for moment, sizes in result.memory_mb.items()
    )
    return "\n".join(
        (
            f"{offered.share:.0f} x capacity for {seconds:.0f} s, budget {timeout_ms} ms:",
            f"  {offered.offered_per_s:.0f}/s offered, responses by status {offered.statuses}",
            f"  accepted: p50 {offered.accepted_p50_ms:.0f} ms, p99 {offered.accepted_p99_ms:.0f}",
            f"  accepted: {offered.within_budget:.2%} within the budget, {offered.wrong} wrong",
            f"  rejected: p50 {offered.refused_p50_ms:.1f} ms, p99 {offered.refused_p99_ms:.1f}",
            f"  rejected: {offered.refused_without_retry_after} without Retry-After",
            f"  goodput {offered.good_per_s:.1f}/s, {result.good_over_peak:.0%} of the peak",
            f"  peak {result.peak_before_per_s:.1f}/s before, {result.peak_after_per_s:.1f} after",
            f"  p50 back to {result.normal_p50_ms:.1f} ms after {recovered}",
            f"  RSS in MB: {held}",
        )
    )


def scaling_lines(result: ScalingResult) -> str:
    """Return the results of starting and stopping processes, one per line."""
    fair = ", ".join("never" if s is None else f"{s:.1f} s" for s in result.fair_after_s)
    shares = ", ".join(f"{share:.0%}" for share in result.shares)
    rates = f"{result.one_per_s:.1f} of one, {result.three_per_s:.1f} of three"
    return "\n".join(
        (
            f"from one inference process to three and back, {BUSY} callers:",
            f"  from ready to {FAIR:.0%} of an equal share within half a second: {fair}",
            f"  shares after that: {shares}",
            f"  pictures per second: {rates}",
            f"  one killed: {result.sent_once_more} requests retried",
            f"  {result.answers} responses, {result.failed} failed or wrong",
        )
    )


def swap_lines(result: Swaps) -> str:
    """Return the results of switching versions under load, one per line."""
    rss = ", ".join(f"{mb:.0f}" for mb in result.rss_mb)
    return "\n".join(
        (
            f"{result.swaps} switches to another version, {result.per_s:.0f} requests per second:",
            f"  before: p50 {result.calm_p50_ms:.1f} ms, p99 {result.calm_p99_ms:.1f}",
            f"  during: p50 {result.p50_ms:.1f} ms, p99 {result.p99_ms:.1f}",
            f"  the longest: {result.longest_ms:.0f} ms",
            f"  a version is served after {result.there_after_s:.2f} s, including polls of 0.2 s",
            f"  RSS of inference before, after half of them, after all: {rss} MB",
            f"  {result.answers} responses, {result.failed} failed or wrong",
        )
    )


def peer_table(results: Sequence[Result]) -> str:
    """Return peers compared with the pipeline; a difference below 10% is a tie."""
    rows = []
    for result in results:
        p50, rate = result.over_pipeline["p50"], result.over_pipeline["rate"]
        rows.append(
            (
                result.name,
                range_of(p50),
                _verdict(p50, lower_is_better=True),
                result.setting,
                range_of(rate),
                _verdict(rate, lower_is_better=False),
                result.busy_setting,
            )
        )
    head = (
        "peer over pipeline",
        "p50 at c=1",
        "peer is",
        "setting",
        f"pictures/s at c={BUSY}",
        "peer is",
        "setting",
    )
    return f"{table(head, rows)}\na difference below {TIE:.0%} is a tie"


def _verdict(ratio: Spread, *, lower_is_better: bool) -> str:
    return judge(ratio.median, lower_is_better=lower_is_better)
