"""Chooses the endpoint for each request and tracks their health. Does no I/O and owns no clock.

Of two endpoints drawn at random, the one with fewer outstanding requests gets the request. This
balances almost as evenly as always taking the least loaded one, but callers that decide at the same
time do not all take the same (M. Mitzenmacher, The Power of Two Choices in Randomized Load
Balancing, 2001).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from services.common.peer.addresses import Address

# The first ejection. Each further one is twice as long, up to the maximum.
EJECTION_S = 1.0
MAX_EJECTION_S = 30.0
# After an ejection, an endpoint's share of requests grows to the full one over this time.
SLOW_START_S = 5.0
# How long other endpoints are preferred to one that has announced that it drains.
DRAIN_S = 5.0
# An endpoint that has requests but sends no response for this long gets a liveness probe.
SILENCE_S = 1.0

State = Literal["serving", "ejected", "leaving"]
"""Values of the metric's label `state`; "leaving" is an endpoint that drains."""


@dataclass(eq=False)
class Endpoint:
    """One process of the next service, as observed from here. Times are the clock's seconds."""

    address: Address
    outstanding: int = 0
    has_responded: bool = False
    """Whether it ever sent a response without a fault; if not, it is still starting."""
    is_unready: bool = False
    """Whether it responded to the last readiness probe, with another status than 200."""
    ejections: int = 0
    ejected_at: float | None = None
    ejected_until: float | None = None
    """End of the ejection; not None until a probe succeeds after that."""
    slow_start_at: float | None = None
    draining_until: float = 0.0
    last_active_at: float = 0.0
    """When it last responded, or got a request while it had none."""
    responded_at: float = -math.inf
    """When it last responded without a fault."""


@dataclass
class Endpoints:
    """All known endpoints of a peer."""

    clock: Callable[[], float]
    random: random.Random = field(default_factory=random.Random)
    known: dict[Address, Endpoint] = field(default_factory=dict)
    removed: set[Endpoint] = field(default_factory=set)
    """No longer resolved, but with outstanding requests."""
    on_change: Callable[[Endpoint, State, str], None] = lambda *_: None
    """Called when an endpoint changes its state: with the new one, and why."""
    on_response: Callable[[], None] = lambda: None
    """Called when an endpoint that does not drain has sent a response without a fault."""

    def update(self, addresses: Iterable[Address]) -> list[Endpoint]:
        """Make these addresses the known ones; return the endpoints that were removed."""
        wanted = set(addresses)
        removed = [self.known.pop(address) for address in self.known.keys() - wanted]
        self.removed.update(endpoint for endpoint in removed if endpoint.outstanding)
        for address in wanted - self.known.keys():
            self.known[address] = Endpoint(address)
        return removed

    def choose(
        self,
        excluded: Collection[Endpoint] = (),
        *,
        prefer_proven: bool = False,
        may_fall_back: bool = True,
    ) -> Endpoint | None:
        """Return the endpoint for the next request, or None if all are `excluded`.

        `prefer_proven` prefers endpoints that have responded before: a retry should not go to
        another endpoint that is still starting. If no endpoint is serving, draining ones are
        chosen from, then the fallback, unless it must not be, and then ejected ones: an ejection is
        a suspicion, which is no reason to refuse a request.
        """
        left = [endpoint for endpoint in self.known.values() if endpoint not in excluded]
        others = [endpoint for endpoint in left if not endpoint.address.is_fallback]
        serving = [endpoint for endpoint in others if self.state(endpoint) == "serving"]
        draining = [endpoint for endpoint in others if self.state(endpoint) == "leaving"]
        proven = [one for one in serving if one.has_responded] if prefer_proven else []
        candidates = proven or serving or draining
        if not candidates and may_fall_back:
            candidates = [
                endpoint
                for endpoint in left
                if endpoint.address.is_fallback and self.state(endpoint) != "ejected"
            ]
            others = left
        candidates = candidates or others
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        first, second = self.random.sample(candidates, 2)
        if self._is_skipped_by_slow_start(first):
            return second
        if self._is_skipped_by_slow_start(second):
            return first
        return first if first.outstanding <= second.outstanding else second

    def state(self, endpoint: Endpoint) -> State:
        """Return the state of an endpoint."""
        if endpoint.ejected_until is not None:
            return "ejected"
        return "leaving" if self.clock() < endpoint.draining_until else "serving"

    def count(self, state: State) -> int:
        """Return how many endpoints are in a state; a fallback is none of them."""
        return sum(
            self.state(endpoint) == state
            for endpoint in self.known.values()
            if not endpoint.address.is_fallback
        )

    def request_started(self, endpoint: Endpoint) -> None:
        """Record that a request is sent to the endpoint."""
        if endpoint.outstanding == 0:
            endpoint.last_active_at = self.clock()
        endpoint.outstanding += 1

    def request_ended(self, endpoint: Endpoint) -> None:
        """Record that a request is over, with whatever result."""
        endpoint.outstanding -= 1
        if endpoint.outstanding == 0:
            self.removed.discard(endpoint)

    def record_alive(self, endpoint: Endpoint) -> None:
        """Record a response to a liveness probe, whatever its status."""
        endpoint.last_active_at = self.clock()

    def record_success(self, endpoint: Endpoint, *, draining: bool = False) -> None:
        """Record a response without a fault; `draining` if it announced a shutdown."""
        now = self.clock()
        endpoint.last_active_at = now
        # During an ejection, this may be the response to a request from before the failure.
        if endpoint.ejected_until is not None and now >= endpoint.ejected_until:
            self._end_ejection(endpoint, now)
        endpoint.has_responded = True
        endpoint.responded_at = now
        if draining:
            known, endpoint.draining_until = now < endpoint.draining_until, now + DRAIN_S
            if not known:
                self.on_change(endpoint, "leaving", "it drains")
        else:
            self.on_response()
        if endpoint.slow_start_at is not None and now >= endpoint.slow_start_at + SLOW_START_S:
            endpoint.slow_start_at = None
            endpoint.ejections = 0

    def record_ready(self, endpoint: Endpoint) -> None:
        """Record a successful readiness probe, which ends an ejection."""
        if endpoint.ejected_until is not None:
            endpoint.ejected_until = min(endpoint.ejected_until, self.clock())
        self.record_success(endpoint)

    def record_failure(self, endpoint: Endpoint, why: str = "") -> None:
        """Record a failed connection or a response that shows a fault, and eject the endpoint.

        An endpoint that has never responded is still starting: it is probed immediately and often.
        If all others are ejected too, the fault is probably in a service that they all depend on:
        the ejection stays short, so that all return soon after that service does.
        """
        now = self.clock()
        if endpoint.ejected_until is not None and now < endpoint.ejected_until:
            return
        ejection_s = 0.0
        if endpoint.has_responded and self._is_other_available(endpoint):
            ejection_s = min(EJECTION_S * 2**endpoint.ejections, MAX_EJECTION_S)
            endpoint.ejections += 1
        elif endpoint.has_responded:
            ejection_s = EJECTION_S
        is_new = endpoint.ejected_until is None
        endpoint.ejected_until = now + ejection_s
        endpoint.slow_start_at = None
        if is_new:
            endpoint.ejected_at = now
            self.on_change(endpoint, "ejected", why)

    def due_for_probe(self, *, absent: bool = False) -> list[Endpoint]:
        """Return the endpoints whose ejection time is over: they return if a probe succeeds.

        If the service is `absent`, none is waited for: all of them are due.
        """
        if absent:
            return list(self.known.values())
        now = self.clock()
        return [
            endpoint
            for endpoint in self.known.values()
            if endpoint.ejected_until is not None and now >= endpoint.ejected_until
        ]

    def has_responded_since(self, moment: float) -> bool:
        """Return whether an endpoint that is not ejected has responded since a moment."""
        return any(
            endpoint.responded_at >= moment and self.state(endpoint) != "ejected"
            for endpoint in self.known.values()
        )

    def has_serving(self) -> bool:
        """Return whether any endpoint is not ejected."""
        return any(self.state(endpoint) != "ejected" for endpoint in self.known.values())

    def has_unready(self) -> bool:
        """Return whether any endpoint responds to probes, and says that it is not ready."""
        return any(endpoint.is_unready for endpoint in self.known.values())

    def silent(self) -> list[Endpoint]:
        """Return the endpoints that have requests but sent no response for `SILENCE_S`."""
        now = self.clock()
        return [
            endpoint
            for endpoint in (*self.known.values(), *self.removed)
            if self.state(endpoint) != "ejected"
            and endpoint.outstanding > 0
            and now - endpoint.last_active_at > SILENCE_S
        ]

    def seconds_to_probe(self) -> float:
        """Return the seconds until an ejected endpoint may return; 0 if one is not ejected."""
        now = self.clock()
        ends = [
            0.0 if endpoint.ejected_until is None else endpoint.ejected_until - now
            for endpoint in self.known.values()
        ]
        return max(0.0, min(ends, default=0.0))

    def _is_other_available(self, endpoint: Endpoint) -> bool:
        return any(
            other is not endpoint and self.state(other) != "ejected"
            for other in self.known.values()
            # A fallback leads to the same processes.
            if not other.address.is_fallback
        )

    def _end_ejection(self, endpoint: Endpoint, now: float) -> None:
        endpoint.ejected_until = None
        if endpoint.has_responded:
            endpoint.slow_start_at = now
        away_s = now - (endpoint.ejected_at or now)
        self.on_change(endpoint, "serving", f"ready again after {away_s:.1f} s")

    def _is_skipped_by_slow_start(self, endpoint: Endpoint) -> bool:
        if endpoint.slow_start_at is None:
            return False
        share = (self.clock() - endpoint.slow_start_at) / SLOW_START_S
        return self.random.random() > share
