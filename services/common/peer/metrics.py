"""What is counted of the tier behind."""

from __future__ import annotations

from functools import partial
from typing import get_args

from prometheus_client import Counter, Gauge

from services.common.observe.telemetry import Metrics
from services.common.peer.endpoints import Endpoints, State

_LABELS = ("service", "peer")


class PeerMetrics:
    """Counters of one peer."""

    def __init__(self, metrics: Metrics, peer: str, endpoints: Endpoints) -> None:
        """Add them to the service's registry; who is known now is looked up at each scrape."""
        labels, registry = (metrics.service, peer), metrics.registry
        known = Gauge(
            "elastic_yolo_peer_endpoints",
            "Processes of the service behind, by what may be expected of them.",
            (*_LABELS, "state"),
            registry=registry,
        )
        for state in get_args(State):
            known.labels(*labels, state).set_function(partial(endpoints.count, state))
        self.retries = Counter(
            "elastic_yolo_peer_retries_total",
            "Requests that were sent once more, to another process where there was one.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
        self.failures = Counter(
            "elastic_yolo_peer_failures_total",
            "Connections that failed and answers that showed a fault of the service behind.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
        self.ejections = Counter(
            "elastic_yolo_peer_ejections_total",
            "How often a process of the service behind was given a pause.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
