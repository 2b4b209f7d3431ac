"""One run, from the first picture to the report."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from elastic_yolo.lab.timeline import append_samples
from loadtest.answers import AnswerReader
from loadtest.errors import LoadTestError
from loadtest.figures import latencies, split, summarise
from loadtest.locust_process import drive, was_too_busy
from loadtest.plan import Plan
from loadtest.result import Result
from loadtest.shapes import PER_USER_S, users_at
from loadtest.slo import judge
from loadtest.sources import Source
from loadtest.target import Target, try_picture

_LOG_EVERY_S = 10.0
_TOO_BUSY = (
    "Locust used more than 90 % of a CPU: the limit may have been locust, not the service. "
    "Generate the load on several machines (docs/loadtest.md)."
)


def run(plan: Plan, source: Source | None) -> Result:
    """Generate the load and return the result; raises LoadTestError."""
    _clear(plan)
    target = try_picture(plan.target, plan.pictures, plan.wait_s)
    if source is not None:
        source.begin()
    progress = Progress(plan)
    try:
        complete = drive(plan, progress.show)
    finally:
        progress.end()
    return _gather(plan, target, source, complete=complete)


def _gather(plan: Plan, target: Target, source: Source | None, *, complete: bool) -> Result:
    log = AnswerReader(plan.answers)
    answers = log.new()
    log.close()
    start_at = log.started_at
    if start_at is None:
        raise LoadTestError(f"stopped before the load started: see {plan.log}")
    # Users may wait for a last response after the end of the load.
    last_at = max((one.sent_at + one.took_ms / 1000 for one in answers), default=start_at)
    duration_s = float(max(1, math.ceil(last_at - start_at)))
    if complete:
        duration_s = max(duration_s, plan.duration_s)
    notes = [] if complete else [f"The run was stopped after {duration_s:.0f} s."]
    samples = []
    if source is not None:
        samples = source.end(start_at, start_at + duration_s)
        notes += source.notes()
        append_samples(plan.timeline, samples)
    was_busy = was_too_busy(plan.log)
    if was_busy:
        notes.append(_TOO_BUSY)
    summary = summarise(answers, duration_s)
    return Result(
        plan=plan,
        target=target,
        start_at=start_at,
        complete=complete,
        answers=answers,
        intervals=split(
            answers,
            log.users,
            start_at=start_at,
            duration_s=duration_s,
            per_user_s=PER_USER_S,
        ),
        summary=summary,
        verdicts=judge(plan.objectives, summary),
        source=None if source is None else source.name,
        samples=samples,
        notes=notes,
        generator_cpu=None if log.cpu_s is None else log.cpu_s / duration_s,
        generator_was_busy=was_busy,
    )


def _clear(plan: Plan) -> None:
    """Remove an earlier run's files that this run may not overwrite."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    names = ("rate", "latency", "statuses", "replicas", "cpu", "overview")
    for path in (plan.answers, plan.timeline, plan.report, plan.summary):
        path.unlink(missing_ok=True)
    for name in names:
        plan.image(name).unlink(missing_ok=True)


class Progress:
    """Progress on stderr: one changing line on a terminal, a line every 10 s in a log."""

    def __init__(self, plan: Plan) -> None:
        """Show nothing yet."""
        self._plan = plan
        self._terminal = sys.stderr.isatty()
        self._reader = AnswerReader(plan.answers)
        self._shown_at = -math.inf

    def show(self) -> None:
        """Show the outcomes since the last call."""
        new = self._reader.new()
        if self._reader.started_at is None:
            return
        passed_s = time.time() - self._reader.started_at
        now = time.monotonic()
        if not self._terminal and now - self._shown_at < _LOG_EVERY_S:
            return
        self._shown_at = now
        plan = self._plan
        users = users_at(plan.shape, passed_s, peak=plan.users, duration_s=plan.duration_s) or 0
        counts = Counter(answer.outcome for answer in new)
        p95 = latencies(new).get("p95")
        line = (
            f"{min(passed_s, plan.duration_s):5.0f} of {plan.duration_s:.0f} s  {users:4} users"
            f"  in the last second:{counts['served']:4} served, p95 "
            f"{'   -' if p95 is None else f'{p95:4.0f}'} ms,{counts['rejected']:4} rejected,"
            f"{counts['failed']:4} failed"
        )
        _write(f"\r\033[K{line}" if self._terminal else f"{line}\n")

    def end(self) -> None:
        """End the line."""
        self._reader.close()
        if self._terminal:
            _write("\n")


def _write(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)
