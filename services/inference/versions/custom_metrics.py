"""Metrics that a model brings itself, as `metrics.py` in its folder.

The file has a function `metrics(found)` that is shown what was found in a picture and returns dicts
in the form that Seldon's models use: {"type": "COUNTER", "key": "people", "value": 3}; types GAUGE
and TIMER (milliseconds) likewise, "tags" with further labels if wanted.
Source of the form: Seldon Core 1, "Custom metrics".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Full, Queue
from threading import Lock, Thread
from typing import Annotated, Any, Literal, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, centre_boxes
from elastic_yolo.detector.errors import ModelError
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import SECONDS_BUCKETS

FILE = "metrics.py"
Hook = Callable[[list[Any]], list[Any]]
"""Takes [[label, score, [x, y, width, height]], ...] of a picture, as the answers have them."""

# So many pictures may wait for their hooks; the others are only counted.
_MOST_WAITING = 64
# A label that is made of what is seen would fill the memory, here and in Prometheus: so many for
# each key and version, and so many keys.
_MOST_SERIES = 100
_MOST_KEYS = 100
_OUR_LABELS = {"model", "version", "le"}
_PREFIX = "elastic_yolo_custom_"

_Name = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$", max_length=60)]


class _Stated(BaseModel):
    """One value that a hook returns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["COUNTER", "GAUGE", "TIMER"]
    key: _Name
    value: float | int
    tags: dict[_Name, Annotated[str, Field(max_length=100)]] = Field({}, max_length=5)


_STATED = TypeAdapter(list[_Stated])


class HookFailed(Exception):
    """A hook, or what it returned, is wrong; the message is one line."""


def read_hook(folder: Path) -> Hook | None:
    """Run the model's metrics.py and return its function; None where it has no such file.

    Raises ModelError.
    """
    path = folder / FILE
    if not path.exists():
        return None
    inside: dict[str, Any] = {"__name__": "model_metrics", "__file__": str(path)}
    try:
        # Not imported: that would write into the folder, and two versions are two files.
        exec(compile(path.read_text(), path, "exec"), inside)  # noqa: S102  # asked for by a setting
    except (Exception, SystemExit) as error:
        raise ModelError(f"{path}: {type(error).__name__}: {error}") from error
    hook = inside.get("metrics")
    if not callable(hook):
        raise ModelError(f"{path}: expected a function metrics(found)")
    return cast(Hook, hook)


@dataclass(frozen=True)
class _Shown:
    """Pictures that a hook is to see: what was found in each, (k, 6)."""

    hook: Hook
    whose: tuple[str, str]
    labels: tuple[str, ...]
    found: list[Floats]


@dataclass
class _Family:
    """A metric with its tags, and the series that each version has."""

    metric: Counter | Gauge | Histogram
    tags: list[str]
    series: dict[tuple[str, str], set[tuple[str, ...]]] = field(default_factory=dict)


class CustomMetrics:
    """Runs hooks in a thread of their own, and exports what they return."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Know no metric yet: they appear with the first value."""
        self._registry = registry
        self._families: dict[str, _Family] = {}
        self._failed: set[tuple[str, str]] = set()
        self._lock = Lock()
        self._waiting: Queue[_Shown] = Queue(_MOST_WAITING)
        self._thread: Thread | None = None
        self._skipped = Counter(
            "elastic_yolo_custom_metrics_skipped_total",
            "Pictures that a model's metrics.py was not asked about, or failed at.",
            ("model", "version", "reason"),
            registry=registry,
        )

    def observe(
        self, hook: Hook, model: str, version: str, labels: tuple[str, ...], found: list[Floats]
    ) -> None:
        """Show a hook what was found in some pictures, each (k, 6); returns at once."""
        if self._thread is None:
            # A daemon: a hook that hangs does not keep the process from ending.
            self._thread = Thread(target=self._run, name="custom-metrics", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(_Shown(hook, (model, version), labels, found))
        except Full:
            self._skipped.labels(model, version, "busy").inc(len(found))

    def forget(self, model: str, version: str) -> None:
        """Export no more what a version has said."""
        with self._lock:
            for family in self._families.values():
                for series in family.series.pop((model, version), ()):
                    family.metric.remove(*series)
            self._failed.discard((model, version))

    def _run(self) -> None:
        while True:
            shown = self._waiting.get()
            for rows in shown.found:
                self._ask(shown.hook, shown.whose, _as_list(rows, shown.labels))

    def _ask(self, hook: Hook, whose: tuple[str, str], found: list[Any]) -> None:
        try:
            for stated in _STATED.validate_python(hook(found)):
                with self._lock:
                    self._record(stated, whose)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # it is the code of somebody else
            self._skipped.labels(*whose, "failed").inc()
            if whose not in self._failed:
                self._failed.add(whose)
                model, version = whose
                get_logger().error(
                    "custom metrics failed", model=model, version=version, why=_describe(error)
                )

    def _record(self, stated: _Stated, whose: tuple[str, str]) -> None:
        if not math.isfinite(stated.value):
            raise HookFailed(f"{stated.key}: {stated.value} is no value")
        family = self._family(stated)
        series = (*whose, *(stated.tags[tag] for tag in family.tags))
        known = family.series.setdefault(whose, set())
        if series not in known and len(known) >= _MOST_SERIES:
            raise HookFailed(f"{stated.key}: more than {_MOST_SERIES} different tags")
        child = family.metric.labels(*series)
        known.add(series)
        match child, stated.type:
            case Counter(), "COUNTER":
                child.inc(stated.value)
            case Gauge(), "GAUGE":
                child.set(stated.value)
            case Histogram(), "TIMER":
                child.observe(stated.value / 1000)
            case _:
                raise HookFailed(f"{stated.key}: was not a {stated.type} before")

    def _family(self, stated: _Stated) -> _Family:
        tags = sorted(stated.tags)
        family = self._families.get(stated.key)
        if family is None:
            if stated.tags.keys() & _OUR_LABELS:
                raise HookFailed(f"{stated.key}: the tags {sorted(_OUR_LABELS)} are there already")
            if len(self._families) >= _MOST_KEYS:
                raise HookFailed(f"{stated.key}: more than {_MOST_KEYS} different keys")
            family = _Family(_new(stated, tags, self._registry), tags)
            self._families[stated.key] = family
        if family.tags != tags:
            raise HookFailed(f"{stated.key}: had the tags {family.tags} before, and now {tags}")
        return family


def _new(
    stated: _Stated, tags: list[str], registry: CollectorRegistry
) -> Counter | Gauge | Histogram:
    names, meaning = ("model", "version", *tags), f"{stated.key}, by the model's own {FILE}."
    if stated.type == "COUNTER":
        return Counter(f"{_PREFIX}{stated.key}_total", meaning, names, registry=registry)
    if stated.type == "GAUGE":
        return Gauge(f"{_PREFIX}{stated.key}", meaning, names, registry=registry)
    name = f"{_PREFIX}{stated.key}_seconds"
    return Histogram(name, meaning, names, buckets=SECONDS_BUCKETS, registry=registry)


def _as_list(rows: Floats, labels: tuple[str, ...]) -> list[Any]:
    boxes = zip(rows, centre_boxes(rows), strict=True)
    return [[labels[int(row[CLASS])], float(row[SCORE]), list(box)] for row, box in boxes]


def _describe(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error) if isinstance(error, HookFailed) else f"{type(error).__name__}: {error}"
