"""Explanations and their masks, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import Counter

from services.common.observe.telemetry import Metrics


@dataclass
class Outcome:
    """What became of an explanation."""

    masks: int = 0
    is_complete: bool = False


class ExplainMetrics:
    """Explanations by outcome, and the masks that they took."""

    def __init__(self, metrics: Metrics) -> None:
        """Add the counters to the service's registry."""
        self._service = metrics.service
        self._explanations = Counter(
            "elastic_yolo_explanations_total",
            "Explanations by outcome: complete, truncated by the deadline, failed.",
            ("service", "outcome"),
            registry=metrics.registry,
        )
        for outcome in ("complete", "truncated", "failed"):
            self._explanations.labels(self._service, outcome)
        self._masks = Counter(
            "elastic_yolo_explanation_masks_total",
            "Masks of explanations, each of which took a prediction.",
            ("service",),
            registry=metrics.registry,
        ).labels(metrics.service)

    @contextmanager
    def count(self) -> Iterator[Outcome]:
        """Count the block as one explanation, with the outcome that it sets."""
        outcome = Outcome()
        result = "failed"
        try:
            yield outcome
            result = "complete" if outcome.is_complete else "truncated"
        finally:
            self._explanations.labels(self._service, result).inc()
            self._masks.inc(outcome.masks)
