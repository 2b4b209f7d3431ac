"""What a run shows, in words: whether the objectives are met, and where the pictures went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from loadtest.result import Result
from loadtest.shapes import PER_USER_S

State = Literal["good", "part", "bad"]

# Users who start in the middle of a second, and rounding, are less than that.
_NEGLIGIBLE = 0.01
_REJECTED = (
    "rejected with 429: the service predicted that they would take longer than their deadline, or "
    "its queue or a limit of the client was full."
)


@dataclass(frozen=True)
class Part:
    """A part of the offered pictures, and what became of it."""

    name: str
    """`served`, `rejected`, `failed`, `waiting` or `unsent`."""
    pictures: float
    why: str


@dataclass(frozen=True)
class Conclusion:
    """The verdict on a run."""

    state: State
    """Good: the objectives are met. Part: they are met, at a lower rate than was offered."""
    title: str
    sentence: str
    offered: float
    """Pictures that the users would have sent if every response came within a second.

    At least those that they sent.
    """
    parts: Sequence[Part]
    """They add up to the pictures that were offered."""
    reasons: Sequence[str]
    """Why the served rate is not the offered one; empty if it is."""


def conclude(result: Result) -> Conclusion:
    """Return the verdict on a run."""
    # A user's last picture may be one more than its seconds.
    offered = max(sum(one.offered for one in result.intervals), result.summary.sent)
    parts = list(_split(result, offered))
    missing = sum(part.pictures for part in parts if part.name in {"rejected", "failed", "waiting"})
    kept_up = missing <= _NEGLIGIBLE * offered
    state, title = _judge(result, kept_up=kept_up)
    reasons = list(_reasons(result, parts, offered))
    return Conclusion(state, title, _sentence(result, offered), offered, parts, reasons)


def _judge(result: Result, *, kept_up: bool) -> tuple[State, str]:
    if not result.summary.served:
        return "bad", "No picture was served"
    unmet = [verdict.objective.name for verdict in result.verdicts if not verdict.met]
    if unmet:
        missed = "an objective" if len(unmet) == 1 else "objectives"
        return "bad", f"The service missed {missed}: {' and '.join(unmet)}"
    number = len(result.verdicts)
    objectives = "its objective" if number == 1 else f"all {number} objectives"
    if not result.complete:
        return "part", "The run was stopped, so it proves nothing about its end"
    if not result.verdicts:
        return (
            ("good", "The service kept up with the offered load")
            if kept_up
            else ("bad", "The service did not keep up with the offered load")
        )
    if not kept_up:
        return "part", f"The service met {objectives}, but served less than was offered"
    return "good", f"The service met {objectives}"


def _sentence(result: Result, offered: float) -> str:
    summary = result.summary
    peak = max((one.per_s(one.offered) for one in result.intervals), default=0.0)
    share = f" ({100 * summary.served / offered:.0f} %)" if offered else ""
    text = (
        f"Up to {peak:.0f} pictures per second were offered, {offered:,.0f} in all; "
        f"{summary.served:,}{share} were served, {summary.served_per_s:.1f} per second over "
        f"{summary.duration_s:.0f} s."
    )
    if summary.latency_ms:
        p95, p99 = (summary.latency_ms[name] for name in ("p95", "p99"))
        text += f" Of these, 95 % took at most {p95:.0f} ms and 99 % at most {p99:.0f} ms."
    return text


def _split(result: Result, offered: float) -> Iterator[Part]:
    summary = result.summary
    yield Part("served", summary.served, "served.")
    if summary.rejected:
        yield Part("rejected", summary.rejected, _REJECTED)
    if summary.failed:
        yield Part("failed", summary.failed, f"failed: {_describe_failures(result)}.")
    unsent = max(0.0, offered - summary.sent)
    # A user that waits for t seconds misses the t - 1 pictures of that time.
    waited_s = sum(max(0.0, one.took_ms / 1000 - 1 / PER_USER_S) for one in result.answers)
    waiting = min(unsent, PER_USER_S * waited_s)
    if round(waiting):
        slow = sum(one.took_ms > 1000 / PER_USER_S for one in result.answers)
        yield Part(
            "waiting",
            waiting,
            "not sent, because their users still waited for a response: a user sends one picture "
            "per second, and none while it waits (a closed loop). Of the responses, "
            f"{100 * slow / summary.sent:.0f} % took longer than a second.",
        )
    if round(unsent - waiting):
        yield Part(
            "unsent",
            unsent - waiting,
            "not sent by the load generator: a new user waits for a part of its first second, "
            "and the run ends in the middle of a user's last one.",
        )


def _describe_failures(result: Result) -> str:
    """Return the failures by their cause: `503 Service Unavailable (9), no response (2)`."""
    causes = {
        name_failure(status): count
        for status, count in result.summary.statuses.items()
        if status not in {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}
    }
    malformed = result.summary.failed - sum(causes.values())
    if malformed:
        causes["200 without detections"] = malformed
    return ", ".join(f"{cause} ({count:,})" for cause, count in causes.items())


def name_failure(status: int) -> str:
    """Return a status in words; 0 stands for no response."""
    if not status:
        return "no response"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _reasons(result: Result, parts: Sequence[Part], offered: float) -> Iterator[str]:
    lost = [part for part in parts if part.name != "served"]
    if sum(part.pictures for part in lost) <= _NEGLIGIBLE * offered:
        return
    for part in lost:
        share = f" ({100 * part.pictures / offered:.0f} %)" if offered else ""
        yield f"{part.pictures:,.0f}{share} {part.why}"
    late_s = result.summary.duration_s - result.plan.duration_s
    if late_s > 0:
        yield (
            f"The last response came {late_s:.0f} s after the end of the load. Rates per second "
            "are means that include this time."
        )
    cpu = result.generator_cpu
    if cpu is not None:
        limit = "may have been" if result.generator_was_busy else "was not"
        used = f"it used {100 * cpu:.0f} % of one CPU on average"
        yield f"The load generator {limit} the limit: {used}."
