"""Metrics that a model brings itself, as `metrics.py` in its folder.

The file has a function `metrics(found)` that is shown what was found in a picture and returns dicts
in the form that Seldon's models use: {"type": "COUNTER", "key": "people", "value": 3}; types GAUGE
and TIMER (milliseconds) likewise, "tags" with further labels if wanted.
Source of the form: Seldon Core 1, "Custom metrics".
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from detector.boxes import CLASS, SCORE, Floats, centre_boxes
from detector.errors import ModelError
from services.common.logs import get_logger
from services.common.telemetry import SECONDS_BUCKETS

FILE = "metrics.py"
Hook = Callable[[list[Any]], list[Any]]
"""Takes [[label, score, [x, y, width, height]], ...] of a picture, as the answers have them."""

# So many pictures may wait for their hooks; the others are only counted.
_MOST_WAITING = 64
# A label that is made of what is seen would fill the memory, here and in Prometheus.
_MOST_SERIES = 100
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
    spec = importlib.util.spec_from_file_location("model_metrics_hook", path)
    assert spec is not None, "the name ends in .py"  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path}: {type(error).__name__}: {error}") from error
    hook = getattr(module, "metrics", None)
    if not callable(hook):
        raise ModelError(f"{path}: expected a function metrics(found)")
    return hook  # type: ignore[no-any-return]


class CustomMetrics:
    """Runs hooks in a thread of their own, and exports what they return."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Know no metric yet: they appear with the first value."""
        self._registry = registry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="custom-metrics")
        self._families: dict[str, Counter | Gauge | Histogram] = {}
        self._series: dict[str, set[tuple[str, ...]]] = {}
        self._failed: set[tuple[str, str]] = set()
        self._lock = Lock()
        self._waiting = 0
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
        with self._lock:
            busy = self._waiting >= _MOST_WAITING
            self._waiting += 0 if busy else 1
        if busy:
            self._skipped.labels(model, version, "busy").inc(len(found))
        else:
            self._thread.submit(self._run, hook, model, version, labels, found)

    def close(self) -> None:
        """Forget what waits, and do not wait for what runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, hook: Hook, model: str, version: str, labels: tuple[str, ...], found: list[Floats]
    ) -> None:
        try:
            for rows in found:
                self._ask(hook, (model, version), _as_list(rows, labels))
        finally:
            with self._lock:
                self._waiting -= 1

    def _ask(self, hook: Hook, whose: tuple[str, str], found: list[Any]) -> None:
        try:
            for stated in _STATED.validate_python(hook(found)):
                self._record(stated, whose)
        except Exception as error:  # noqa: BLE001  # it is the code of somebody else
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
        if stated.tags.keys() & _OUR_LABELS:
            raise HookFailed(f"{stated.key}: the tags {sorted(_OUR_LABELS)} are there already")
        tags = sorted(stated.tags)
        series = (*whose, *(stated.tags[tag] for tag in tags))
        family = self._families.get(stated.key)
        if family is None:
            family = self._families[stated.key] = _new(stated, tags, self._registry)
        known = self._series.setdefault(stated.key, set())
        if series not in known and len(known) >= _MOST_SERIES:
            raise HookFailed(f"{stated.key}: more than {_MOST_SERIES} different tags")
        child = family.labels(*series)
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


def _describe(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error) if isinstance(error, HookFailed) else f"{type(error).__name__}: {error}"
