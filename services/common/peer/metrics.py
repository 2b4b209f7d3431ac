"""Metrics of peers: their endpoints by state, failures, ejections, retries and holds."""

from __future__ import annotations

from functools import partial
from typing import get_args

from prometheus_client import Counter, Gauge

from services.common.observe.telemetry import Metrics
from services.common.peer.endpoints import Endpoints, State
from services.common.peer.hold import Absence, HoldResult

_LABELS = ("service", "peer")


class _Families:
    """The metrics of all peers of a service."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self.endpoints = Gauge(
            "elastic_yolo_peer_endpoints",
            "Endpoints of the next service by state: serving, ejected, or leaving (draining).",
            (*_LABELS, "state"),
            registry=registry,
        )
        self.reachable = Gauge(
            "elastic_yolo_peer_reachable",
            "0 while no endpoint of the next service responds, otherwise 1.",
            _LABELS,
            registry=registry,
        )
        self.retries = Counter(
            "elastic_yolo_peer_retries_total",
            "Requests to the next service that were sent a second time.",
            _LABELS,
            registry=registry,
        )
        self.failures = Counter(
            "elastic_yolo_peer_failures_total",
            "Failed connections to the next service, and responses 500, 502 and 503 from it.",
            _LABELS,
            registry=registry,
        )
        self.ejections = Counter(
            "elastic_yolo_peer_ejections_total",
            "Ejections: an endpoint that failed gets no requests until a probe succeeds.",
            _LABELS,
            registry=registry,
        )
        self.holds = Counter(
            "elastic_yolo_held_requests_total",
            "Holds by their end: sent, expired, cancelled, or refused at once.",
            (*_LABELS, "result"),
            registry=registry,
        )
        self.owners: dict[str, PeerMetrics] = {}
        """The latest peer of each name: a peer may end after its successor has begun."""


class PeerMetrics:
    """The gauges and counters of one peer."""

    def __init__(self, metrics: Metrics, peer: str, endpoints: Endpoints, absence: Absence) -> None:
        """Export them until `remove`; endpoints are counted at each scrape."""
        self._families = metrics.family(_Families)
        self._labels = labels = (metrics.service, peer)
        for state in get_args(State):
            known = self._families.endpoints.labels(*labels, state)
            known.set_function(partial(endpoints.count, state))
        reachable = self._families.reachable.labels(*labels)
        reachable.set_function(lambda: not absence.has_begun)
        self.retries = self._families.retries.labels(*labels)
        self.failures = self._families.failures.labels(*labels)
        self.ejections = self._families.ejections.labels(*labels)
        for result in get_args(HoldResult):
            self._families.holds.labels(*labels, result)
        self._families.owners[peer] = self

    def count_hold(self, result: HoldResult) -> None:
        """Count a request whose hold has ended."""
        self._families.holds.labels(*self._labels, result).inc()

    def remove(self) -> None:
        """Export them no longer, unless another peer of this name does."""
        families, (_, peer) = self._families, self._labels
        if families.owners.get(peer) is not self:
            return
        del families.owners[peer]
        for state in get_args(State):
            families.endpoints.remove(*self._labels, state)
        for result in get_args(HoldResult):
            families.holds.remove(*self._labels, result)
        for family in (
            families.reachable,
            families.retries,
            families.failures,
            families.ejections,
        ):
            family.remove(*self._labels)
