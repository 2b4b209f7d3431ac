"""The processes as a viewer sees them, and the changes from one poll to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from elastic_yolo.progress import counted
from elastic_yolo.tiers import TIERS
from services.common.core.live import ProcessSnapshot
from services.web.live.poll import Place, Poll
from services.web.live.rates import Recent, Step

CardState = Literal["starting", "ready", "draining", "silent"]
Kind = Literal[
    "appeared", "ready", "share", "draining", "gone", "silent", "back", "ejected", "scaled"
]

# A process from which no answer comes for so long is shown as silent: a busy one answers late.
_SILENT_S = 3.0
# A process that nobody has seen for so long, and that is not silent at a known address, is gone.
_UNSEEN_S = 2.0
# Of the mean rate of the ready processes of its tier; with it a new one has its share.
_SHARE = 0.5


@dataclass(frozen=True)
class Change:
    """What happened to a process or a tier."""

    at: float
    """Unix seconds."""
    tier: str
    name: str
    kind: Kind
    text: str
    """The rest of the sentence that begins with the name."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return vars(self)


@dataclass
class Card:
    """One process."""

    name: str
    recent: Recent
    seen_at: float
    has_share: bool
    state: CardState
    places: set[Place] = field(default_factory=set)
    ejected_by: frozenset[str] = frozenset()
    rate: float = 0.0
    """Responses per second."""
    rate_now: float = 0.0
    """The same since the last poll alone."""

    @property
    def process(self) -> ProcessSnapshot:
        """Its latest snapshot."""
        return self.recent.last


class Fleet:
    """All processes. `update` takes the polls in order."""

    def __init__(self) -> None:
        """Know none."""
        self._cards: dict[str, Card] = {}
        self._is_first = True
        self.steps: list[Step] = []
        """What each web process did between the last two polls."""

    @property
    def cards(self) -> list[Card]:
        """All of them, the oldest of each service first."""
        return sorted(self._cards.values(), key=lambda one: -one.process.age_s)

    def update(self, now: float, seen: Poll) -> list[Change]:
        """Take a poll of a moment, in Unix seconds; return what has changed since the last."""
        changes = list(self._remove_ended(now, seen))
        self.steps = []
        places = seen.places()
        for process in seen.processes.values():
            changes += self._take(now, process, places.get(process.id, set()), seen)
        changes += self._note_silent(now, seen)
        self._measure(seen)
        changes += self._note_shares(now)
        changes += self._note_ejections(now)
        if self._is_first:
            # They were there before anybody looked.
            self._is_first = False
            return []
        return changes

    def _take(
        self, now: float, process: ProcessSnapshot, places: set[Place], seen: Poll
    ) -> Iterator[Change]:
        card = self._cards.get(process.id)
        if card is None:
            card = Card(
                self._name(process, seen), Recent(process), now, self._is_first, process.state
            )
            self._cards[process.id] = card
            card.places = places
            yield self._change(now, card, "appeared", _describe_start(process))
            return
        step = card.recent.add(process)
        card.rate_now = step.statuses.total() / step.seconds
        if process.service == "web":
            self.steps.append(step)
        card.places |= places
        before, card.state, card.seen_at = card.state, process.state, now
        if before == process.state:
            return
        if before == "silent":
            yield self._change(now, card, "back", "answers again")
        if process.state == "ready" and before == "starting":
            yield self._change(now, card, "ready", f"ready{_after_start(process)}")
        if process.state == "draining":
            yield self._change(now, card, "draining", _describe_drain(process.in_flight))

    def _remove_ended(self, now: float, seen: Poll) -> Iterator[Change]:
        for key, card in list(self._cards.items()):
            if key in seen.processes:
                continue
            found = [seen.addresses[place] for place in card.places if place in seen.addresses]
            is_replaced = any(one is not None for one in found)
            left = _outstanding(card, seen)
            if found and left and not is_replaced and card.state != "silent":
                # It has closed its socket, and finishes what it has.
                if card.state != "draining":
                    card.state = "draining"
                    yield self._change(now, card, "draining", _describe_drain(left))
                continue
            is_unseen = not self._may_be_silent(card) and now - card.seen_at > _UNSEEN_S
            if found or is_unseen:
                del self._cards[key]
                yield self._change(now, card, "gone", "gone")

    def _note_silent(self, now: float, seen: Poll) -> Iterator[Change]:
        for key, card in self._cards.items():
            if key in seen.processes or card.state in ("silent", "draining"):
                continue
            if now - card.seen_at > _SILENT_S:
                card.state = "silent"
                yield self._change(now, card, "silent", "does not answer")

    def _may_be_silent(self, card: Card) -> bool:
        """Return whether a process that does not answer is still an endpoint of another one."""
        places = {address for _, address in card.places}
        return any(
            endpoint.address in places
            for other in self._cards.values()
            for endpoint in other.process.endpoints
        )

    def _measure(self, seen: Poll) -> None:
        for key, card in self._cards.items():
            step = card.recent.over_all()
            # One that is only late has the rate that it had.
            has_ended = key not in seen.processes and card.state in ("draining", "silent")
            card.rate = 0.0 if has_ended else step.statuses.total() / step.seconds

    def _note_shares(self, now: float) -> Iterator[Change]:
        for tier in TIERS:
            ready = [one for one in self._of(tier) if one.state == "ready"]
            mean = sum(one.rate_now for one in ready) / max(1, len(ready))
            for card in ready:
                if card.has_share or mean == 0 or card.rate_now < _SHARE * mean:
                    continue
                card.has_share = True
                since_s = card.process.ready_s
                after = "" if since_s is None else f" after {since_s:.1f} s"
                yield self._change(now, card, "share", f"took its share{after}")

    def _note_ejections(self, now: float) -> Iterator[Change]:
        by_address: dict[str, set[str]] = {}
        for card in self._cards.values():
            for endpoint in card.process.endpoints:
                if endpoint.state == "ejected":
                    by_address.setdefault(endpoint.address, set()).add(card.name)
        for card in self._cards.values():
            places = {address for _, address in card.places}
            by = frozenset(name for place in places for name in by_address.get(place, ()))
            if card.state not in ("ready", "silent") or not card.has_share:
                # One that starts or ends is tried in vain, which is no news.
                by = frozenset()
            if by and not card.ejected_by:
                yield self._change(now, card, "ejected", f"ejected by {', '.join(sorted(by))}")
            elif card.ejected_by and not by and card.state == "ready":
                yield self._change(now, card, "back", "gets requests again")
            card.ejected_by = by

    def _of(self, tier: str) -> list[Card]:
        return [one for one in self._cards.values() if one.process.service == tier]

    def _name(self, process: ProcessSnapshot, seen: Poll) -> str:
        """Return the host's name if that tells the processes apart: in containers it does."""
        others = [
            one
            for one in (*seen.processes.values(), *(card.process for card in self._cards.values()))
            if one.host == process.host and one.id != process.id
        ]
        if not others:
            return process.host
        return f"{process.service}:{process.port}"

    def _change(self, now: float, card: Card, kind: Kind, text: str) -> Change:
        return Change(now, card.process.service, card.name, kind, text)


def card_to_json(card: Card, tier_rate: float) -> dict[str, Any]:
    """Return what a viewer sees of a process; it has no addresses."""
    process, step = card.process, card.recent.over_all()
    waiting = sum(waiting for name, (waiting, _) in process.queues.items() if name != "admission")
    return {
        "id": process.id,
        "name": card.name,
        "state": card.state,
        "rate": round(card.rate, 2),
        "share": round(card.rate / tier_rate, 3) if tier_rate else 0.0,
        "in_flight": process.in_flight,
        "queue": waiting,
        "cpu": round(step.cpu_s / step.seconds, 3),
        "cpu_quota": round(process.cpu_quota, 2),
        "age_s": round(process.age_s, 1),
        "ejected": bool(card.ejected_by),
        "models": [one.model_dump() for one in process.models],
    }


def count_statuses(steps: list[Step]) -> Counter[str]:
    """Return the responses of all steps by status."""
    total: Counter[str] = Counter()
    for step in steps:
        total.update(step.statuses)
    return total


def _outstanding(card: Card, seen: Poll) -> int:
    """Return the requests that others have sent to a process and that are not over."""
    places = {address for _, address in card.places}
    return sum(
        endpoint.outstanding
        for other in seen.processes.values()
        for endpoint in other.endpoints
        if endpoint.address in places
    )


def _describe_start(process: ProcessSnapshot) -> str:
    if process.state == "ready":
        return f"ready{_after_start(process)}"
    return {"starting": "starts", "draining": "drains"}[process.state]


def _after_start(process: ProcessSnapshot) -> str:
    if process.ready_s is None:
        return ""
    return f", {max(0.0, process.age_s - process.ready_s):.1f} s after its start"


def _describe_drain(left: int) -> str:
    return f"drains: {counted(left, 'request')} left" if left else "drains"
