"""Where replicas and CPU come from: the lab's timeline file, Prometheus, or kubectl."""

from __future__ import annotations

from typing import Protocol

from elastic_yolo.lab.timeline import Sample


class Source(Protocol):
    """Tells how many pods there were during a run."""

    name: str
    """For the report: what was asked."""

    def begin(self) -> None:
        """Get ready before there is load; raises LoadTestError if nothing can be learnt."""

    def end(self, start_at: float, end_at: float) -> list[Sample]:
        """Return the samples between two moments, in the order of time."""

    def notes(self) -> list[str]:
        """Return what a reader of the report has to know about gaps, after the end."""


def only_between(samples: list[Sample], start_at: float, end_at: float) -> list[Sample]:
    """Return the samples of a stretch of time, in the order of time."""
    within = [sample for sample in samples if start_at <= sample.at <= end_at]
    return sorted(within, key=lambda sample: sample.at)
