"""Events: what changed in front of a camera, from the results of its pictures."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from elastic_yolo.stream.message import Result

CAMERA_FIELD = "camera"
"""A field of a message that names the camera, where pictures of several pass through one source."""
# Whoever may add pictures can invent cameras.
_MOST_CAMERAS = 10_000


@dataclass(frozen=True)
class Event:
    """The number of objects of one label changed in the pictures of one source.

    `count` is the number now, `was` the one before. `at` is when the change began, in seconds since
    1970, `result` the id of the result that confirmed it. The same results give the same `id`.
    """

    id: str
    event: Literal["entered", "left"]
    source: str
    label: str
    count: int
    was: int
    at: float
    result: str

    def to_json(self) -> dict[str, Any]:
        """Return the event as sinks write it."""
        return {**asdict(self), "at": round(self.at, 3)}


@dataclass
class _Track:
    """The count of one label: the confirmed one, and since when it differs.

    `since[n]` is when the count passed the confirmed one by more than n, upwards if `rising`, and
    it did not come back since.
    """

    count: int = 0
    rising: bool = True
    since: list[float] = field(default_factory=list)

    def update(self, found: int, at: float, debounce_s: float) -> tuple[int, float] | None:
        """Take a new count; returns the confirmed count before and since when, if it changed."""
        rising, distance = found > self.count, abs(found - self.count)
        if rising != self.rising:
            self.rising, self.since = rising, []
        del self.since[distance:]
        self.since += [at] * (distance - len(self.since))
        held = sum(at - since >= debounce_s for since in self.since)
        if not held:
            return None
        was, began = self.count, self.since[0]
        self.count += held if rising else -held
        del self.since[:held]
        return was, began


@dataclass
class _Camera:
    newest_at: float
    tracks: dict[str, _Track] = field(default_factory=dict)


class Events:
    """Finds events in results; begins with no object in front of any camera.

    A change counts once it held for `debounce_s` seconds by the results' `added_at`: if a second
    person comes half a second after the first, there are two events, half a second apart. A result
    that is not newer than the one before of its camera is ignored.
    """

    def __init__(self, debounce_s: float) -> None:
        """Begin; with 0 seconds, each change is an event."""
        self._debounce_s = debounce_s
        self._cameras: OrderedDict[tuple[str, str | None], _Camera] = OrderedDict()

    def observe(self, result: Result) -> list[Event]:
        """Return the events that a result confirms, by label."""
        message = result.message
        key = (message.source, message.fields.get(CAMERA_FIELD))
        camera = self._cameras.setdefault(key, _Camera(float("-inf")))
        self._cameras.move_to_end(key)
        if len(self._cameras) > _MOST_CAMERAS:
            self._cameras.popitem(last=False)
        if message.added_at <= camera.newest_at:
            return []
        camera.newest_at = message.added_at
        counts = Counter(item.label for item in result.detections)
        found = []
        for label in sorted({*counts, *camera.tracks}):
            track = camera.tracks.setdefault(label, _Track())
            changed = track.update(counts[label], message.added_at, self._debounce_s)
            if changed:
                found.append(_event(result, key[1] or key[0], label, track.count, *changed))
            if not track.count and not track.since:
                del camera.tracks[label]
        return found


class Outbox:
    """What a sink has to send: events, or all results; it stays until it is sent."""

    def __init__(self, send: str | None, debounce_s: float) -> None:
        """Take `send` from the sink's address: `results`, otherwise events are sent."""
        self.kind = "results" if send == "results" else "events"
        self._events = Events(debounce_s)
        self._items: list[dict[str, Any]] = []

    def add(self, results: Sequence[Result]) -> list[dict[str, Any]]:
        """Return what is to be sent now, oldest first.

        Results that are written again, because sending failed, add nothing twice.
        """
        if self.kind == "results":
            self._items = [result.to_json() for result in results]
        else:
            for result in results:
                self._items += [event.to_json() for event in self._events.observe(result)]
        return list(self._items)

    def remove(self, number: int) -> None:
        """Note that the oldest ones are sent."""
        del self._items[:number]


def _event(result: Result, source: str, label: str, count: int, was: int, began: float) -> Event:
    event: Literal["entered", "left"] = "entered" if count > was else "left"
    named = f"{source}\n{label}\n{was}\n{count}\n{began!r}\n{result.id}"
    identity = hashlib.sha256(named.encode(errors="surrogateescape")).hexdigest()[:32]
    return Event(identity, event, source, label, count, was, began, result.id)
