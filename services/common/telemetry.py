"""The metrics that every service exports, in a registry of its own for each app."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

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

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answered request. `route` is the pattern, so that labels stay few."""
        self._requests.labels(self.service, route, method, str(status)).inc()
        self._seconds.labels(self.service, route).observe(seconds)
