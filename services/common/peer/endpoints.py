"""Which of several processes gets the next request. No input or output, no clock of its own.

Two are drawn at random, and of those the one with fewer outstanding requests is taken: nearly as
even as always taking the least busy of all, without all callers running to the same one
(M. Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from services.common.peer.addresses import Address

# The first ejection; each further one is twice as long, up to the longest.
EJECTION_S = 1.0
LONGEST_EJECTION_S = 30.0
# Who comes back after an ejection gets its full share only after so long.
RETURN_S = 5.0
# How long a process that says that it leaves is not preferred again.
LEAVE_S = 5.0
# Who has requests and answers nothing for so long is asked whether it is alive.
SILENCE_S = 1.0

State = Literal["serving", "ejected", "leaving"]


@dataclass(eq=False)
class Endpoint:
    """A process behind this one, as seen from here; times are those of the clock, in seconds."""

    address: Address
    outstanding: int = 0
    has_answered: bool = False
    ejections: int = 0
    ejected_until: float | None = None
    returning_since: float | None = None
    leaving_until: float = 0.0
    heard_at: float = 0.0
    """When it last answered, or last got something to do after having had nothing."""


@dataclass
class Endpoints:
    """All that are known, and the choice between them."""

    clock: Callable[[], float]
    random: random.Random = field(default_factory=random.Random)
    known: dict[Address, Endpoint] = field(default_factory=dict)
    gone: set[Endpoint] = field(default_factory=set)
    """Known no more, but with requests that have not ended."""

    def update(self, addresses: Iterable[Address]) -> list[Endpoint]:
        """Know exactly these addresses from now on; return the endpoints that are gone."""
        wanted = set(addresses)
        gone = [self.known.pop(address) for address in self.known.keys() - wanted]
        self.gone.update(endpoint for endpoint in gone if endpoint.outstanding)
        for address in wanted - self.known.keys():
            self.known[address] = Endpoint(address)
        return gone

    def choose(
        self, without: Collection[Endpoint] = (), *, proven: bool = False
    ) -> Endpoint | None:
        """Return who gets the next request, or None if there is nobody but those in `without`.

        With `proven` those are preferred that have answered before: for a second chance, which
        had better not go to another process that is only starting. If nobody is well, everybody
        is asked: refusing on a suspicion would be worse.
        """
        others = [endpoint for endpoint in self.known.values() if endpoint not in without]
        serving = [endpoint for endpoint in others if self.state(endpoint) == "serving"]
        leaving = [endpoint for endpoint in others if self.state(endpoint) == "leaving"]
        known_good = [endpoint for endpoint in serving if endpoint.has_answered] if proven else []
        candidates = known_good or serving or leaving or others
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        one, other = self.random.sample(candidates, 2)
        if self._is_held_back(one):
            return other
        if self._is_held_back(other):
            return one
        return one if one.outstanding <= other.outstanding else other

    def state(self, endpoint: Endpoint) -> State:
        """Return what may be expected of an endpoint."""
        if endpoint.ejected_until is not None:
            return "ejected"
        return "leaving" if self.clock() < endpoint.leaving_until else "serving"

    def count(self, state: State) -> int:
        """Return how many endpoints are in a state."""
        return sum(self.state(endpoint) == state for endpoint in self.known.values())

    def begin(self, endpoint: Endpoint) -> None:
        """Note that a request goes there."""
        if endpoint.outstanding == 0:
            endpoint.heard_at = self.clock()
        endpoint.outstanding += 1

    def end(self, endpoint: Endpoint) -> None:
        """Note that a request is over, however it ended."""
        endpoint.outstanding -= 1
        if endpoint.outstanding == 0:
            self.gone.discard(endpoint)

    def answered(self, endpoint: Endpoint, *, leaving: bool = False) -> None:
        """Note an answer that shows no fault of the endpoint; `leaving` if it said that it goes."""
        now = self.clock()
        endpoint.heard_at = now
        # While it pauses, an answer may be that to a request from before it failed.
        if endpoint.ejected_until is not None and now >= endpoint.ejected_until:
            self._return(endpoint, now)
        endpoint.has_answered = True
        if leaving:
            endpoint.leaving_until = now + LEAVE_S
        if endpoint.returning_since is not None and now >= endpoint.returning_since + RETURN_S:
            endpoint.returning_since = None
            endpoint.ejections = 0

    def failed(self, endpoint: Endpoint) -> None:
        """Note a connection that failed or an answer that shows a fault: it gets a pause.

        One that never answered is only starting: it may come as soon as a probe finds it ready.
        Where nobody else is well either, the fault is rather with something behind all of them:
        the pause stays short, so that all are back soon after that is.
        """
        now = self.clock()
        if endpoint.ejected_until is not None and now < endpoint.ejected_until:
            return
        pause = 0.0
        if endpoint.has_answered and self._others_are_well(endpoint):
            pause = min(EJECTION_S * 2**endpoint.ejections, LONGEST_EJECTION_S)
            endpoint.ejections += 1
        elif endpoint.has_answered:
            pause = EJECTION_S
        endpoint.ejected_until = now + pause
        endpoint.returning_since = None

    def to_probe(self) -> list[Endpoint]:
        """Return whose pause is over."""
        now = self.clock()
        return [
            endpoint
            for endpoint in self.known.values()
            if endpoint.ejected_until is not None and now >= endpoint.ejected_until
        ]

    def silent(self) -> list[Endpoint]:
        """Return who has had requests for a while and answers nothing: slow, or dead."""
        now = self.clock()
        return [
            endpoint
            for endpoint in (*self.known.values(), *self.gone)
            if self.state(endpoint) != "ejected"
            and endpoint.outstanding > 0
            and now - endpoint.heard_at > SILENCE_S
        ]

    def _others_are_well(self, endpoint: Endpoint) -> bool:
        return any(
            other is not endpoint and self.state(other) != "ejected"
            for other in self.known.values()
        )

    def _return(self, endpoint: Endpoint, now: float) -> None:
        endpoint.ejected_until = None
        if endpoint.has_answered:
            endpoint.returning_since = now

    def _is_held_back(self, endpoint: Endpoint) -> bool:
        if endpoint.returning_since is None:
            return False
        share = (self.clock() - endpoint.returning_since) / RETURN_S
        return self.random.random() > share
