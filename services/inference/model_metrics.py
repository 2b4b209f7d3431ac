"""What is counted of models and their versions."""

from __future__ import annotations

from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from services.common.telemetry import SECONDS_BUCKETS, Metrics
from services.inference.loader import Reason
from services.inference.version import LoadedVersion

Outcome = Literal["compared", "skipped", "failed"]


class ModelMetrics:
    """Counters of the inference service, by model and version."""

    def __init__(self, metrics: Metrics) -> None:
        """Add them to the service's registry."""
        registry = metrics.registry
        self._info = Gauge(
            "elastic_yolo_model_info",
            "1 for every version that is loaded, and what it is there for.",
            ("model", "version", "digest", "channel"),
            registry=registry,
        )
        self._pictures = Counter(
            "elastic_yolo_model_pictures_total",
            "Pictures answered, by the version that answered.",
            ("model", "version"),
            registry=registry,
        )
        self._seconds = Histogram(
            "elastic_yolo_model_duration_seconds",
            "Time from a parsed request to its detections, the wait in the queue included.",
            ("model", "version"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._switches = Counter(
            "elastic_yolo_model_switches_total",
            "How often another version took over a channel's requests.",
            ("model", "channel"),
            registry=registry,
        )
        self._refusals = Counter(
            "elastic_yolo_model_refusals_total",
            "Versions that were not taken, by the kind of reason; the log has the reason itself.",
            ("model", "channel", "reason"),
            registry=registry,
        )
        self._refused = Gauge(
            "elastic_yolo_model_refused",
            "1 while a channel points at what is not taken and an older version serves on.",
            ("model", "channel"),
            registry=registry,
        )
        self._shadowed = Counter(
            "elastic_yolo_shadow_pictures_total",
            "Pictures that a shadow could have been asked about, and what came of it.",
            ("model", "version", "outcome"),
            registry=registry,
        )
        self._agreement = Counter(
            "elastic_yolo_shadow_boxes_total",
            "Objects in pictures compared: found by both, by the answer or by the shadow alone.",
            ("model", "version", "found_by"),
            registry=registry,
        )
        self._shown: dict[str, set[tuple[str, ...]]] = {}

    def show_loaded(self, model: str, loaded: dict[str, LoadedVersion]) -> None:
        """Export which versions of a model are loaded, by the channel that they serve."""
        now: set[tuple[str, ...]] = {
            (model, version.version, version.digest, channel) for channel, version in loaded.items()
        }
        for labels in self._shown.get(model, set()) - now:
            self._info.remove(*labels)
        for labels in now:
            self._info.labels(*labels).set(1)
        self._shown[model] = now

    def count_answer(self, version: LoadedVersion, pictures: int, seconds: float) -> None:
        """Record one answered request."""
        self._pictures.labels(version.name, version.version).inc(pictures)
        self._seconds.labels(version.name, version.version).observe(seconds)

    def count_switch(self, model: str, channel: str) -> None:
        """Record that a channel has another version now."""
        self._switches.labels(model, channel).inc()

    def count_refusal(self, model: str, channel: str, reason: Reason) -> None:
        """Record that a version was not taken."""
        self._refusals.labels(model, channel, reason).inc()

    def show_refused(self, model: str, channel: str, *, refused: bool) -> None:
        """Export whether a channel points at what is not taken."""
        self._refused.labels(model, channel).set(refused)

    def count_shadow(self, shadow: LoadedVersion, outcome: Outcome, pictures: int) -> None:
        """Record what came of the chance to compare pictures."""
        self._shadowed.labels(shadow.name, shadow.version, outcome).inc(pictures)

    def count_agreement(self, shadow: LoadedVersion, both: int, answer: int, alone: int) -> None:
        """Record how many objects of a picture both found, the answer alone, the shadow alone."""
        for found_by, objects in (("both", both), ("answer", answer), ("shadow", alone)):
            self._agreement.labels(shadow.name, shadow.version, found_by).inc(objects)
