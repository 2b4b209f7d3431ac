"""Metrics of a peer: its endpoints by state, failures, ejections and retries."""

from __future__ import annotations

from functools import partial
from typing import get_args

from prometheus_client import Counter, Gauge

from services.common.observe.telemetry import Metrics
from services.common.peer.endpoints import Endpoints, State

_LABELS = ("service", "peer")


class PeerMetrics:
    """The gauges and counters of one peer."""

    def __init__(self, metrics: Metrics, peer: str, endpoints: Endpoints) -> None:
        """Register them with the service's registry; endpoints are counted at each scrape."""
        labels, registry = (metrics.service, peer), metrics.registry
        known = Gauge(
            "elastic_yolo_peer_endpoints",
            "Endpoints of the next service by state: serving, ejected, or leaving (draining).",
            (*_LABELS, "state"),
            registry=registry,
        )
        for state in get_args(State):
            known.labels(*labels, state).set_function(partial(endpoints.count, state))
        self.retries = Counter(
            "elastic_yolo_peer_retries_total",
            "Requests to the next service that were sent a second time.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
        self.failures = Counter(
            "elastic_yolo_peer_failures_total",
            "Failed connections to the next service, and responses 500, 502 and 503 from it.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
        self.ejections = Counter(
            "elastic_yolo_peer_ejections_total",
            "Ejections: an endpoint that failed gets no requests until a probe succeeds.",
            _LABELS,
            registry=registry,
        ).labels(*labels)
