"""The metrics that every service exports; each app has a registry of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar, cast

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
from prometheus_client.samples import Sample

from services.common.observe.cgroup import CgroupCollector

# From a probe's fraction of a millisecond to full yolov3 on one slow core.
SECONDS_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_LAG_PERIOD_S = 0.5
# Client names that become a label; an issuer of tokens may know any number of them.
MOST_CLIENTS = 100


F = TypeVar("F")


class QueueLoad(NamedTuple):
    """The load of a queue: requests waiting, their limit, the next request's expected wait."""

    waiting: int
    limit: int
    wait_s: float


class Work(NamedTuple):
    """Finished requests of some routes, since the start."""

    statuses: dict[str, int]
    seconds: list[tuple[float, int]]
    """Upper bound and cumulative count of each bucket but the last, which has no bound."""


class _QueueCollector(Collector):
    """Exports the load of the queues, read at every scrape."""

    def __init__(self, service: str) -> None:
        self._service = service
        self.watched: dict[str, Callable[[], QueueLoad]] = {}

    def describe(self) -> Iterable[Metric]:
        """Return nothing: queues are added after the registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        waiting, limit, wait = (
            GaugeMetricFamily(f"elastic_yolo_queue_{name}", meaning, labels=("service", "queue"))
            for name, meaning in (
                ("waiting", "Requests waiting in a queue of this process."),
                ("limit", "Requests that may wait in the queue; one more is refused with 429."),
                (
                    "expected_wait_seconds",
                    "Expected time from now to the response of one more request.",
                ),
            )
        )
        for name, read_load in self.watched.items():
            load = read_load()
            waiting.add_metric((self._service, name), load.waiting)
            limit.add_metric((self._service, name), load.limit)
            wait.add_metric((self._service, name), load.wait_s)
        yield from (waiting, limit, wait)


class Metrics:
    """Counters and histograms of one service; extend it with the service's own."""

    def __init__(self, service: str) -> None:
        """Create the registry; every metric has the label `service`."""
        self.service = service
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "elastic_yolo_requests_total",
            "Finished requests by route, method and status; 499: the caller hung up.",
            ("service", "route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "elastic_yolo_request_duration_seconds",
            "Time from a request's complete head to the end of its response.",
            ("service", "route"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "elastic_yolo_requests_in_flight",
            "Requests in progress.",
            ("service",),
            registry=self.registry,
        ).labels(service)

        self._problems = Counter(
            "elastic_yolo_problems_total",
            "Error responses by reason.",
            ("service", "reason"),
            registry=self.registry,
        )
        self._phases = Histogram(
            "elastic_yolo_phase_duration_seconds",
            "Duration of each phase of a request in this process; queues by their names.",
            ("service", "phase"),
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self._lag = Histogram(
            "elastic_yolo_event_loop_lag_seconds",
            "Delay of the event loop, measured twice a second.",
            ("service",),
            buckets=_LAG_BUCKETS,
            registry=self.registry,
        ).labels(service)
        self._clients: Counter | None = None
        self._client_names: set[str] = set()
        self._queues = _QueueCollector(service)
        self.registry.register(self._queues)
        self.registry.register(CgroupCollector(service))
        self._families: dict[type[object], object] = {}

    def family(self, kind: type[F]) -> F:
        """Return the service's one object of a class that adds metrics, created at its first use.

        `kind` takes this object. A registry has each metric once, whatever number of peers use it.
        """
        if kind not in self._families:
            self._families[kind] = kind(self)  # type: ignore[call-arg]  # described above
        return cast("F", self._families[kind])

    def watch_queue(self, name: str, load: Callable[[], QueueLoad]) -> None:
        """Export the load of a queue; `load` is called at every scrape."""
        self._queues.watched[name] = load

    def note_start(self, phases_ms: Mapping[str, int]) -> None:
        """Export the duration of each phase of the start, in milliseconds."""
        gauge = Gauge(
            "elastic_yolo_start_seconds",
            "Duration of each phase of the start.",
            ("service", "phase"),
            registry=self.registry,
        )
        for phase, milliseconds in phases_ms.items():
            gauge.labels(self.service, phase).set(milliseconds / 1000)

    def watch_clients(self) -> None:
        """Export the requests of each known client."""
        self._clients = Counter(
            "elastic_yolo_client_requests_total",
            f"Finished requests of the first {MOST_CLIENTS} known clients, then of (other).",
            ("service", "client", "status"),
            registry=self.registry,
        )

    def queue_loads(self) -> list[tuple[str, QueueLoad]]:
        """Return name and load of each queue now."""
        return [(name, read_load()) for name, read_load in self._queues.watched.items()]

    def in_flight_now(self) -> int:
        """Return the requests in progress, the one that asks included."""
        return round(_samples(self.in_flight, "")[0].value)

    def count_work(self, routes: Collection[str]) -> Work:
        """Return what was counted of some routes."""
        statuses: dict[str, int] = {}
        used: set[str] = set()
        for sample in _samples(self._requests, "_total"):
            if (route := sample.labels["route"]) in routes:
                used.add(route)
                status = sample.labels["status"]
                statuses[status] = statuses.get(status, 0) + round(sample.value)
        counts = dict.fromkeys(SECONDS_BUCKETS, 0)
        for route in used:
            # Of this route alone: a service has a dozen, with a bucket for each duration.
            for sample in _samples(self._seconds.labels(self.service, route), "_bucket"):
                if (bound := float(sample.labels["le"])) in counts:
                    counts[bound] += round(sample.value)
        return Work(statuses, list(counts.items()))

    def record_lag(self, seconds: float) -> None:
        """Record a delay of the event loop."""
        self._lag.observe(seconds)

    def count_client(self, client: str, status: int) -> None:
        """Count a finished request of a known client, if `watch_clients` was called."""
        if self._clients is None:
            return
        if client not in self._client_names:
            if len(self._client_names) < MOST_CLIENTS:
                self._client_names.add(client)
            else:
                client = "(other)"
        self._clients.labels(self.service, client, str(status)).inc()

    def count_phases(self, phases_ms: Iterable[tuple[str, float]]) -> None:
        """Record the phases of a request."""
        for phase, milliseconds in phases_ms:
            self._phases.labels(self.service, phase).observe(milliseconds / 1000)

    def count_problem(self, reason: str) -> None:
        """Record an error response."""
        self._problems.labels(self.service, reason).inc()

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a finished request; `route` is the pattern, which bounds the number of labels."""
        self._requests.labels(self.service, route, method, str(status)).inc()
        self._seconds.labels(self.service, route).observe(seconds)


def _samples(metric: Collector, suffix: str) -> list[Sample]:
    """Return the samples of a metric, or of one of its children, whose names end in `suffix`."""
    found = (sample for family in metric.collect() for sample in family.samples)
    return [sample for sample in found if sample.name.endswith(suffix)]


async def measure_lag(record: Callable[[float], None]) -> None:
    """Call `record` twice a second with the event loop's delay in seconds, until cancelled.

    Every request waits at least as long.
    """
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_PERIOD_S
        await asyncio.sleep(_LAG_PERIOD_S)
        record(max(0.0, loop.time() - due))
