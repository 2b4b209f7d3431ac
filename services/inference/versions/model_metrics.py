"""Metrics of the inference service by model and version."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, NamedTuple

from prometheus_client import Counter, Gauge, Histogram

from services.common.observe.logs import get_logger
from services.common.observe.telemetry import SECONDS_BUCKETS, Metrics
from services.inference.scheduler import RunTimes
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.version_loader import VersionRefused

Outcome = Literal["compared", "skipped", "failed"]
Labels = tuple[str, ...]

_VERSION = ("model", "version")
_FILES = (*_VERSION, "digest")
_CHANNEL = ("model", "channel")

_GAUGES: dict[str, tuple[str, Labels]] = {
    "elastic_yolo_model_poll_seconds": (
        "Seconds between two polls of a channel; 0 if polling is disabled.", ()),
    "elastic_yolo_model_info": (
        "1 for each loaded version and the channel it serves.",
        (*_FILES, "channel", "engine", "precision", "device")),
    "elastic_yolo_model_load_seconds": (
        "Time to load a version: read files, build the engine, run the golden picture.", _FILES),
    "elastic_yolo_model_golden_agrees": (
        "1 if the version's golden picture gives the expected detections, otherwise 0.", _FILES),
    "elastic_yolo_model_looked_timestamp_seconds": (
        "Unix time of the last completed poll of a channel; falls behind if its store hangs.",
        _CHANNEL),
    "elastic_yolo_model_refused": (
        "1 while a channel points at a refused version and the previous version serves.", _CHANNEL),
}  # fmt: skip

_COUNTERS: dict[str, tuple[str, Labels]] = {
    "elastic_yolo_model_pictures_total": (
        "Pictures for which a version returned detections.", _VERSION),
    "elastic_yolo_model_switches_total": (
        "Switches of a channel to another version.", _CHANNEL),
    "elastic_yolo_model_refusals_total": (
        "Refused versions by the kind of reason; the log line has the reason.",
        (*_CHANNEL, "reason")),
    "elastic_yolo_shadow_pictures_total": (
        "Pictures that a shadow compared, skipped because requests were queued, or failed at.",
        (*_VERSION, "outcome")),
    "elastic_yolo_shadow_boxes_total": (
        "Objects in compared pictures: found by both versions, or only the response's or shadow's.",
        (*_VERSION, "found_by")),
}  # fmt: skip


class _Buckets(NamedTuple):
    meaning: str
    buckets: tuple[float, ...]


_HISTOGRAMS: dict[str, _Buckets] = {
    "elastic_yolo_model_duration_seconds": _Buckets(
        "Time from a decoded request to its detections, including the queue.", SECONDS_BUCKETS),
    "elastic_yolo_engine_run_seconds": _Buckets(
        "Duration of one run of the engine.", SECONDS_BUCKETS),
    "elastic_yolo_engine_batch_pictures": _Buckets(
        "Pictures in one run of the engine.", (1, 2, 4, 8, 16, 32, 64)),
}  # fmt: skip
"""All have the labels model and version."""

# How many unloaded versions keep their counters and histograms: the last scrape before a version
# left has not seen everything, and a version that comes back continues its counters.
_MAX_UNLOADED = 20


class ModelMetrics:
    """Counters, gauges and histograms by model and version."""

    def __init__(self, metrics: Metrics, poll_s: float = 5.0) -> None:
        """Add them to the service's registry; `poll_s` is the time between two polls of a store."""
        registry = metrics.registry
        self._gauges = {
            name: Gauge(name, meaning, labels, registry=registry)
            for name, (meaning, labels) in _GAUGES.items()
        }
        self._counters = {
            name: Counter(name, meaning, labels, registry=registry)
            for name, (meaning, labels) in _COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, meaning, _VERSION, buckets=buckets, registry=registry)
            for name, (meaning, buckets) in _HISTOGRAMS.items()
        }
        self._by_version = [
            *(self._counters[name] for name, (_, labels) in _COUNTERS.items()
              if labels[:2] == _VERSION),
            *self._histograms.values(),
        ]  # fmt: skip
        self._gauges["elastic_yolo_model_poll_seconds"].set(poll_s)
        self._polls = poll_s > 0
        self._shown: dict[str, dict[Labels, LoadedVersion]] = {}
        self._unloaded: deque[tuple[str, str]] = deque()
        self._on_forget: list[Callable[[str, str], None]] = []

    def show_loaded(self, model: str, loaded: Mapping[str, LoadedVersion]) -> None:
        """Export the loaded versions of a model by the channel that they serve."""
        info = self._gauges["elastic_yolo_model_info"]
        agrees = self._gauges["elastic_yolo_model_golden_agrees"]
        load_seconds = self._gauges["elastic_yolo_model_load_seconds"]
        before = self._shown.get(model, {})
        now = {_info_labels(version, channel): version for channel, version in loaded.items()}
        self._shown[model] = now
        for labels in before.keys() - now.keys():
            info.remove(*labels)
        for labels in {one[:3] for one in before} - {one[:3] for one in now}:
            agrees.remove(*labels)
            load_seconds.remove(*labels)
        for labels, version in now.items():
            info.labels(*labels).set(1)
            agrees.labels(*labels[:3]).set(version.golden_agrees)
            load_seconds.labels(*labels[:3]).set(version.load_s)
        self._forget_oldest(model, {one[1] for one in before}, {one[1] for one in now})

    def _forget_oldest(self, model: str, before: set[str], now: set[str]) -> None:
        """Remember which versions were unloaded, and remove the series of the oldest ones."""
        self._unloaded.extend((model, version) for version in before - now)
        self._unloaded = deque(
            one for one in self._unloaded if one[0] != model or one[1] not in now
        )
        while len(self._unloaded) > _MAX_UNLOADED:
            name, version = self._unloaded.popleft()
            for call in self._on_forget:
                call(name, version)
            for metric in self._by_version:
                metric.remove_by_labels({"model": name, "version": version})

    def call_on_forget(self, call: Callable[[str, str], None]) -> None:
        """Have `call` called with model and version when a version's series are removed."""
        self._on_forget.append(call)

    def record_poll(self, model: str, channel: str) -> None:
        """Export that a poll of a channel has ended now, whatever it found.

        Without polling the time would only fall behind, as if the store hung.
        """
        if self._polls:
            looked = self._gauges["elastic_yolo_model_looked_timestamp_seconds"]
            looked.labels(model, channel).set_to_current_time()

    def forget_poll(self, model: str, channel: str) -> None:
        """Stop exporting the time of a channel's last poll: it is no longer polled."""
        with suppress(KeyError):
            self._gauges["elastic_yolo_model_looked_timestamp_seconds"].remove(model, channel)

    def report_refusal(
        self, model: str, channel: str, why: VersionRefused, serving: LoadedVersion | None
    ) -> None:
        """Log and count that a channel's current version is refused."""
        self._counters["elastic_yolo_model_refusals_total"].labels(model, channel, why.reason).inc()
        get_logger().error(
            "version refused",
            model=model,
            channel=channel,
            reason=why.reason,
            why=str(why),
            serving=None if serving is None else serving.version,
        )

    def count_prediction(self, model: str, version: str, pictures: int, seconds: float) -> None:
        """Record the predictions for one request."""
        self._counters["elastic_yolo_model_pictures_total"].labels(model, version).inc(pictures)
        self._histograms["elastic_yolo_model_duration_seconds"].labels(model, version).observe(
            seconds
        )

    def count_run(self, model: str, version: str, pictures: int, times: RunTimes) -> None:
        """Record one run of an engine."""
        self._histograms["elastic_yolo_engine_batch_pictures"].labels(model, version).observe(
            pictures
        )
        self._histograms["elastic_yolo_engine_run_seconds"].labels(model, version).observe(
            times.engine_s
        )

    def count_switch(self, model: str, channel: str) -> None:
        """Record that a channel has switched to another version."""
        self._counters["elastic_yolo_model_switches_total"].labels(model, channel).inc()

    def show_refused(self, model: str, channel: str, *, refused: bool) -> None:
        """Export whether a channel points at a refused version."""
        self._gauges["elastic_yolo_model_refused"].labels(model, channel).set(refused)

    def count_shadow(self, shadow: LoadedVersion, outcome: Outcome, pictures: int) -> None:
        """Record what a shadow did with the pictures of a request."""
        total = self._counters["elastic_yolo_shadow_pictures_total"]
        total.labels(shadow.name, shadow.version, outcome).inc(pictures)

    def count_agreement(self, shadow: LoadedVersion, both: int, answer: int, alone: int) -> None:
        """Record a picture's objects: found by both versions, or by one of them only."""
        total = self._counters["elastic_yolo_shadow_boxes_total"]
        for found_by, objects in (("both", both), ("answer", answer), ("shadow", alone)):
            total.labels(shadow.name, shadow.version, found_by).inc(objects)


def _info_labels(version: LoadedVersion, channel: str) -> Labels:
    engine = version.detector.engine
    return (*version.facts().values(), channel, engine.name, engine.precision, engine.device)
