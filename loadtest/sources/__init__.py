"""Sources of replicas and CPU: the lab's timeline file, Prometheus, or kubectl."""

from __future__ import annotations

from typing import Protocol

from elastic_yolo.lab.timeline import Sample


class Source(Protocol):
    """Provides samples of the tiers during a run."""

    name: str
    """Its name in the report."""

    def begin(self) -> None:
        """Prepare before the load starts; raises LoadTestError if there is no data."""

    def end(self, start_at: float, end_at: float) -> list[Sample]:
        """Return the samples between two moments, ordered by time."""

    def notes(self) -> list[str]:
        """Return notes for the report, such as gaps in the data; called after `end`."""


def only_between(samples: list[Sample], start_at: float, end_at: float) -> list[Sample]:
    """Return the samples between two moments, ordered by time."""
    within = [sample for sample in samples if start_at <= sample.at <= end_at]
    return sorted(within, key=lambda sample: sample.at)
