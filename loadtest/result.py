"""The result of a run: everything that the terminal, the report and the JSON summary show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from elastic_yolo.lab.timeline import Sample
from loadtest.answers import Answer
from loadtest.figures import Interval, Summary
from loadtest.plan import Plan
from loadtest.slo import Verdict
from loadtest.target import Target
from loadtest.urls import without_user


@dataclass(frozen=True)
class Result:
    """A finished run."""

    plan: Plan
    target: Target
    start_at: float
    complete: bool
    """False if Ctrl-C ended it."""
    answers: Sequence[Answer]
    intervals: Sequence[Interval]
    summary: Summary
    verdicts: Sequence[Verdict]
    source: str | None
    """The source of replicas and CPU; None without one."""
    samples: Sequence[Sample]
    notes: Sequence[str]
    generator_cpu: float | None = None
    """CPUs that locust used on average; None if it did not record them."""
    generator_was_busy: bool = False
    """Whether locust warned that it used a whole CPU at some time."""

    @property
    def succeeded(self) -> bool:
        """Whether it ran to its end, a picture was served, and every objective is met."""
        met = all(verdict.met for verdict in self.verdicts)
        return self.complete and self.summary.served > 0 and met


def to_json(result: Result) -> dict[str, Any]:
    """Return the figures for summary.json."""
    summary = result.summary
    return {
        "shape": result.plan.shape,
        "target": without_user(result.plan.target),
        "users": result.plan.users,
        "started": datetime.fromtimestamp(result.start_at, UTC).isoformat(timespec="seconds"),
        "duration_s": round(summary.duration_s, 1),
        "complete": result.complete,
        "sent": summary.sent,
        "served": summary.served,
        "rejected": summary.rejected,
        "failed": summary.failed,
        "served_per_s": round(summary.served_per_s, 3),
        "statuses": {str(status): count for status, count in summary.statuses.items()},
        "latency_ms": {name: round(value, 1) for name, value in summary.latency_ms.items()},
        "model": asdict(result.target),
        "objectives": [
            {
                "name": one.objective.name,
                "limit": one.objective.limit,
                "unit": one.objective.unit,
                "measured": one.measured,
                "met": one.met,
            }
            for one in result.verdicts
        ],
        "met": result.succeeded,
        "report": str(result.plan.report),
        "notes": list(result.notes),
    }
