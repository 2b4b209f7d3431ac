"""Metrics that a model defines itself, in `metrics.py` of its folder.

The file has a function `metrics(found)` that gets the detections of a picture and returns values in
the form of Seldon's models: {"type": "COUNTER", "key": "people", "value": 3}. The other types are
GAUGE and TIMER (milliseconds); "tags" adds labels.
Source of the form: Seldon Core 1, "Custom metrics".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from queue import Full, Queue
from threading import Lock, Thread
from typing import Annotated, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, centre_boxes
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import SECONDS_BUCKETS
from services.inference.versions.hook_process import HookFailed, HookProcess
from services.inference.versions.hook_program import FILE

# How many requests may be queued for their hooks; the pictures of further ones are only counted.
_MAX_QUEUED = 64
# Tags or keys that a hook makes of what it sees would fill the memory, here and in Prometheus.
_MAX_SERIES_PER_VERSION = 100
_MAX_KEYS = 100
_OWN_LABELS = {"model", "version", "le"}
_PREFIX = "elastic_yolo_custom_"

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$", max_length=60)]


class _Value(BaseModel):
    """One value that a hook returns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["COUNTER", "GAUGE", "TIMER"]
    key: _Name
    value: float | int
    tags: dict[_Name, Annotated[str, Field(max_length=100)]] = Field({}, max_length=5)


_VALUES = TypeAdapter(list[_Value])


@dataclass(frozen=True)
class _Call:
    """The pictures of a request, queued for a hook: detections of each, (k, 6)."""

    hook: HookProcess
    model: str
    version: str
    labels: tuple[str, ...]
    detections: list[Floats]


@dataclass
class _Family:
    """A metric, the names of its tags, and its series by model and version."""

    metric: Counter | Gauge | Histogram
    tags: list[str]
    series: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict)


class CustomMetrics:
    """Calls hooks from a thread that no request waits for, and exports what they return."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Export nothing yet: a metric appears with its first value."""
        self._registry = registry
        self._families: dict[str, _Family] = {}
        self._failed: set[tuple[str, str]] = set()
        self._lock = Lock()
        self._queue: Queue[_Call] = Queue(_MAX_QUEUED)
        self._thread: Thread | None = None
        self._skipped = Counter(
            "elastic_yolo_custom_metrics_skipped_total",
            "Pictures for which a model's metrics.py was not called (busy) or failed.",
            ("model", "version", "reason"),
            registry=registry,
        )

    def queue_hook(
        self,
        hook: HookProcess,
        model: str,
        version: str,
        labels: tuple[str, ...],
        detections: list[Floats],
    ) -> None:
        """Queue a hook for some pictures, each (k, 6); returns immediately."""
        if self._thread is None:
            thread = Thread(target=self._call_hooks, name="custom-metrics", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The system allows no further thread now; the next picture tries again.
                self._skipped.labels(model, version, "busy").inc(len(detections))
                return
            self._thread = thread
        try:
            self._queue.put_nowait(_Call(hook, model, version, labels, detections))
        except Full:
            self._skipped.labels(model, version, "busy").inc(len(detections))

    def record_values(self, model: str, version: str, values: Any) -> None:
        """Export what a hook returned for a picture; raises HookFailed if it is invalid.

        The values before an invalid one are exported.
        """
        try:
            for value in _VALUES.validate_python(values):
                with self._lock:
                    self._record(value, (model, version))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise HookFailed(f"{where}: {first['msg']}") from None
        except (ValueError, OverflowError) as error:
            raise HookFailed(str(error)) from None

    def forget(self, model: str, version: str) -> None:
        """Stop exporting the values of a version."""
        with self._lock:
            for family in self._families.values():
                for series in family.series.pop((model, version), ()):
                    family.metric.remove(*series)
            self._failed.discard((model, version))

    def _call_hooks(self) -> None:
        while True:
            call = self._queue.get()
            for rows in call.detections:
                try:
                    values = call.hook.call_hook(_as_list(rows, call.labels))
                    self.record_values(call.model, call.version, values)
                except Exception as error:  # noqa: BLE001  # the thread must live on
                    if not call.hook.closed:
                        self._report(call, error)

    def _report(self, call: _Call, error: Exception) -> None:
        """Count a failed picture, and log the first failure of a version."""
        self._skipped.labels(call.model, call.version, "failed").inc()
        if (call.model, call.version) not in self._failed:
            self._failed.add((call.model, call.version))
            get_logger().error(
                "custom metrics failed",
                model=call.model,
                version=call.version,
                why=str(error) if isinstance(error, HookFailed) else repr(error),
            )

    def _record(self, value: _Value, owner: tuple[str, str]) -> None:
        if not math.isfinite(value.value):
            raise HookFailed(f"{value.key}: the value is {value.value}, expected a finite number")
        family = self._find_family(value)
        series = (*owner, *(value.tags[tag] for tag in family.tags))
        known = family.series.setdefault(owner, set())
        if series not in known and len(known) >= _MAX_SERIES_PER_VERSION:
            raise HookFailed(
                f"{value.key}: more than {_MAX_SERIES_PER_VERSION} combinations of tags"
            )
        child = family.metric.labels(*series)
        known.add(series)
        match child, value.type:
            case Counter(), "COUNTER":
                child.inc(value.value)
            case Gauge(), "GAUGE":
                child.set(value.value)
            case Histogram(), "TIMER":
                child.observe(value.value / 1000)
            case _:
                raise HookFailed(f"{value.key}: is now a {value.type}, and had another type before")

    def _find_family(self, value: _Value) -> _Family:
        tags = sorted(value.tags)
        family = self._families.get(value.key)
        if family is None:
            if value.tags.keys() & _OWN_LABELS:
                raise HookFailed(f"{value.key}: the tags {sorted(_OWN_LABELS)} are reserved")
            if len(self._families) >= _MAX_KEYS:
                raise HookFailed(f"{value.key}: more than {_MAX_KEYS} keys")
            family = _Family(_create(value, tags, self._registry), tags)
            self._families[value.key] = family
        if family.tags != tags:
            raise HookFailed(f"{value.key}: the tags are {tags}, and were {family.tags} before")
        return family


def _create(
    value: _Value, tags: list[str], registry: CollectorRegistry
) -> Counter | Gauge | Histogram:
    names, meaning = ("model", "version", *tags), f"{value.key}, defined by the model's {FILE}."
    if value.type == "COUNTER":
        return Counter(f"{_PREFIX}{value.key}_total", meaning, names, registry=registry)
    if value.type == "GAUGE":
        return Gauge(f"{_PREFIX}{value.key}", meaning, names, registry=registry)
    name = f"{_PREFIX}{value.key}_seconds"
    return Histogram(name, meaning, names, buckets=SECONDS_BUCKETS, registry=registry)


def _as_list(rows: Floats, labels: tuple[str, ...]) -> list[Any]:
    """Return (k, 6) rows as [[label, score, [x, y, width, height]], ...], JSON numbers."""
    boxes = zip(rows, centre_boxes(rows), strict=True)
    return [
        [labels[int(row[CLASS])], float(row[SCORE]), [float(number) for number in box]]
        for row, box in boxes
    ]
