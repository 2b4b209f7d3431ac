"""The metrics that every service exports, in a registry of its own for each app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.observe.cgroup import CgroupCollector

# From a probe's fraction of a millisecond to full yolov3 on one slow core.
SECONDS_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class QueueLoad(NamedTuple):
    """How full a queue is: `limit` is how many may wait, `wait_s` what a newcomer can expect."""

    waiting: int
    limit: int
    wait_s: float


class _QueueCollector(Collector):
    """Exports how full the queues are, each looked at once a scrape."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.watched: dict[str, Callable[[], QueueLoad]] = {}

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the queues come later."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        waiting, limit, wait = (
            GaugeMetricFamily(f"elastic_yolo_queue_{name}", meaning, labels=("service", "queue"))
            for name, meaning in (
                ("waiting", "Requests that wait in a queue of this process."),
                ("limit", "How many may wait; one more is answered with 429."),
                ("expected_wait_seconds", "What one more could expect until its answer."),
            )
        )
        for name, look in self.watched.items():
            load = look()
            waiting.add_metric((self._service, name), load.waiting)
            limit.add_metric((self._service, name), load.limit)
            wait.add_metric((self._service, name), load.wait_s)
        yield from (waiting, limit, wait)


class Metrics:
    """Counters and histograms of one service; extend it with the service's own."""

    def __init__(self, service: str) -> None:
        """Create the registry; `service` becomes part of every name's labels."""
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "elastic_yolo_requests_total",
            "Requests answered, by route and status.",
            ("service", "route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "elastic_yolo_request_duration_seconds",
            "Time from a request's first byte to the last byte of its answer.",
            ("service", "route"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "elastic_yolo_requests_in_flight",
            "Requests that have arrived and are not answered yet.",
            ("service",),
            registry=self.registry,
        ).labels(service)

        self._problems = Counter(
            "elastic_yolo_problems_total",
            "Requests that were answered with a problem, by what it was.",
            ("service", "reason"),
            registry=self.registry,
        )
        self._phases = Histogram(
            "elastic_yolo_phase_duration_seconds",
            "What the time of requests went into in this process; queues by their names.",
            ("service", "phase"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "elastic_yolo_event_loop_lag_seconds",
            "How late the event loop was, measured twice a second.",
            ("service",),
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        ).labels(service)
        self._queues = _QueueCollector(service)
        self.registry.register(self._queues)
        self.registry.register(CgroupCollector(service))

    def watch_queue(self, name: str, load: Callable[[], QueueLoad]) -> None:
        """Export how full a queue is."""
        self._queues.watched[name] = load

    def note_start(self, phases_ms: Mapping[str, int]) -> None:
        """Export how long the start took."""
        gauge = Gauge(
            "elastic_yolo_start_seconds",
            "How long each phase of the start took.",
            ("service", "phase"),
            registry=self.registry,
        )
        for phase, milliseconds in phases_ms.items():
            gauge.labels(self.service, phase).set(milliseconds / 1000)

    def observe_lag(self, seconds: float) -> None:
        """Record how late the event loop was."""
        self._lag.observe(seconds)

    def count_phases(self, phases_ms: Iterable[tuple[str, float]]) -> None:
        """Record what the time of a request went into."""
        for phase, milliseconds in phases_ms:
            self._phases.labels(self.service, phase).observe(milliseconds / 1000)

    def count_problem(self, reason: str) -> None:
        """Record that a request was answered with a problem."""
        self._problems.labels(self.service, reason).inc()

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answered request. `route` is the pattern, so that labels stay few."""
        self._requests.labels(self.service, route, method, str(status)).inc()
        self._seconds.labels(self.service, route).observe(seconds)
