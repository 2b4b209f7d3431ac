"""The metrics that every service exports, in a registry of its own for each app."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from services.common.endpoints import Endpoints, State

# From a probe's fraction of a millisecond to full yolov3 on one slow core.
SECONDS_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip


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

        self._endpoints = Gauge(
            "elastic_yolo_peer_endpoints",
            "Processes of the service behind, by what may be expected of them.",
            ("service", "peer", "state"),
            registry=self.registry,
        )
        self._retries = Counter(
            "elastic_yolo_peer_retries_total",
            "Requests that were sent once more, to another process where there was one.",
            ("service", "peer"),
            registry=self.registry,
        )
        self._failures = Counter(
            "elastic_yolo_peer_failures_total",
            "Connections that failed and answers that showed a fault of the service behind.",
            ("service", "peer"),
            registry=self.registry,
        )
        self._waiting = Gauge(
            "elastic_yolo_queue_waiting",
            "Requests that wait in a queue of this process.",
            ("service", "queue"),
            registry=self.registry,
        )

    def watch_queue(self, name: str, waiting: Callable[[], int]) -> None:
        """Export how many wait in a queue."""
        self._waiting.labels(self.service, name).set_function(waiting)

    def watch_endpoints(self, peer: str, endpoints: Endpoints) -> None:
        """Export how many processes of a peer there are, and how they are."""
        for state in get_args(State):
            self._endpoints.labels(self.service, peer, state).set_function(
                partial(endpoints.count, state)
            )

    def count_retry(self, peer: str) -> None:
        """Record that a request was sent once more."""
        self._retries.labels(self.service, peer).inc()

    def count_failure(self, peer: str) -> None:
        """Record that a process of a peer failed."""
        self._failures.labels(self.service, peer).inc()

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answered request. `route` is the pattern, so that labels stay few."""
        self._requests.labels(self.service, route, method, str(status)).inc()
        self._seconds.labels(self.service, route).observe(seconds)
