"""What is counted of models and their versions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import SECONDS_BUCKETS, Metrics
from services.inference.versions.loader import VersionRefused
from services.inference.versions.version import LoadedVersion

Outcome = Literal["compared", "skipped", "failed"]

# The series of so many versions that are not loaded any more are still exported: the last scrape
# before they left has not seen everything, and one that is put back goes on counting.
_MOST_LEFT = 20


class ModelMetrics:
    """Counters of the inference service, by model and version."""

    def __init__(self, metrics: Metrics, poll_s: float = 5.0) -> None:
        """Add them to the service's registry; `poll_s` is the time between two looks at a store."""
        registry = metrics.registry
        self._polls = poll_s > 0
        Gauge(
            "elastic_yolo_model_poll_seconds",
            "Seconds between two looks at a channel; 0 for never.",
            registry=registry,
        ).set(poll_s)
        self._info = Gauge(
            "elastic_yolo_model_info",
            "1 for every version that is loaded, and what it is there for.",
            ("model", "version", "digest", "channel", "engine", "precision", "device"),
            registry=registry,
        )
        self._load = Gauge(
            "elastic_yolo_model_load_seconds",
            "How long a version took to load: reading, building the engine, golden picture.",
            ("model", "version", "digest"),
            registry=registry,
        )
        self._batch = Histogram(
            "elastic_yolo_engine_batch_pictures",
            "How many pictures an engine ran at once.",
            ("model", "version"),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self._runs = Histogram(
            "elastic_yolo_engine_run_seconds",
            "How long one run of an engine took.",
            ("model", "version"),
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._golden = Gauge(
            "elastic_yolo_model_golden_agrees",
            "1 for every version that answered its golden picture as its owner says, 0 otherwise.",
            ("model", "version", "digest"),
            registry=registry,
        )
        self._looked = Gauge(
            "elastic_yolo_model_looked_timestamp_seconds",
            "When a channel was last looked at, to the end: a store that hangs lets this grow old.",
            ("model", "channel"),
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
        self._shown: dict[str, dict[tuple[str, ...], LoadedVersion]] = {}
        self._left: deque[tuple[str, str]] = deque()
        self._told: list[Callable[[str, str], None]] = []

    def show_loaded(self, model: str, loaded: Mapping[str, LoadedVersion]) -> None:
        """Export which versions of a model are loaded, by the channel that they serve."""
        before = self._shown.get(model, {})
        now = {_facts(version, channel): version for channel, version in loaded.items()}
        self._shown[model] = now
        for labels in before.keys() - now.keys():
            self._info.remove(*labels)
        for labels in {one[:3] for one in before} - {one[:3] for one in now}:
            self._golden.remove(*labels)
            self._load.remove(*labels)
        for labels, version in now.items():
            self._info.labels(*labels).set(1)
            self._golden.labels(*labels[:3]).set(version.golden_agrees)
            self._load.labels(*labels[:3]).set(version.load_s)
        there = {one[1] for one in now}
        for version_name in {one[1] for one in before} - there:
            self._left.append((model, version_name))
        self._left = deque(one for one in self._left if one[0] != model or one[1] not in there)
        while len(self._left) > _MOST_LEFT:
            self._forget(*self._left.popleft())

    def tell_when_forgotten(self, told: Callable[[str, str], None]) -> None:
        """Have `told` called with model and version when a version's series are removed."""
        self._told.append(told)

    def _forget(self, model: str, version: str) -> None:
        for told in self._told:
            told(model, version)
        which = {"model": model, "version": version}
        for metric in (
            self._pictures, self._seconds, self._shadowed, self._agreement, self._batch, self._runs
        ):  # fmt: skip
            metric.remove_by_labels(which)

    def note_look(self, model: str, channel: str) -> None:
        """Export that a channel has just been looked at, whatever was found.

        Where nobody looks again, it would only seem to hang.
        """
        if self._polls:
            self._looked.labels(model, channel).set_to_current_time()

    def forget_look(self, model: str, channel: str) -> None:
        """Export no more when a channel was looked at: nobody does any longer."""
        with suppress(KeyError):
            self._looked.remove(model, channel)

    def announce_refusal(
        self, model: str, channel: str, why: VersionRefused, serving: LoadedVersion | None
    ) -> None:
        """Log and count that what a channel points at is not taken."""
        self._refusals.labels(model, channel, why.reason).inc()
        get_logger().error(
            "version refused",
            model=model,
            channel=channel,
            reason=why.reason,
            why=str(why),
            serving=None if serving is None else serving.version,
        )

    def count_answer(self, model: str, version: str, pictures: int, seconds: float) -> None:
        """Record one answered request."""
        self._pictures.labels(model, version).inc(pictures)
        self._seconds.labels(model, version).observe(seconds)

    def count_run(self, model: str, version: str, pictures: int, seconds: float) -> None:
        """Record one run of an engine."""
        self._batch.labels(model, version).observe(pictures)
        self._runs.labels(model, version).observe(seconds)

    def count_switch(self, model: str, channel: str) -> None:
        """Record that a channel has another version now."""
        self._switches.labels(model, channel).inc()

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


def _facts(version: LoadedVersion, channel: str) -> tuple[str, ...]:
    engine = version.detector.engine
    what = (engine.name, engine.precision, engine.device)
    return (version.name, version.version, version.digest, channel, *what)
