"""A source and a sink in memory, which note in one list what happens to each message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from elastic_yolo.detector.inputs import Frame
from elastic_yolo.stream.message import Message, Result

Event = tuple[str, str]
"""What happened, and the id of the message."""


@dataclass
class MemorySource:
    """Delivers messages once; `fail` is called before each receive and may raise."""

    waiting: list[Message]
    events: list[Event]
    name: str = "memory"
    newest_only: bool = False
    dropped: int = 0
    ends: bool = True
    fail: Callable[[], None] = lambda: None
    rejected: dict[str, str] = field(default_factory=dict)
    largest: int = 0
    """The most messages that were in hand at the same time."""
    in_hand: int = 0
    lock: Lock = field(default_factory=Lock)

    def receive(self, most: int, wait_s: float) -> list[Message]:  # noqa: ARG002
        self.fail()
        with self.lock:
            found, self.waiting[:] = self.waiting[:most], self.waiting[most:]
            self.in_hand += len(found)
            self.largest = max(self.largest, self.in_hand)
        return found

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.events += [("acknowledged", message.id) for message in messages]
        with self.lock:
            self.in_hand -= len(messages)

    def reject(self, message: Message, reason: str) -> None:
        self.events.append(("rejected", message.id))
        self.rejected[message.id] = reason
        with self.lock:
            self.in_hand -= 1

    def lag(self) -> int:
        return len(self.waiting) + self.in_hand

    @property
    def finished(self) -> bool:
        return self.ends and not self.waiting

    def close(self) -> None:
        pass


@dataclass
class MemorySink:
    """Keeps results; `fail` is called before each write and may raise."""

    events: list[Event]
    name: str = "results"
    fail: Callable[[], None] = lambda: None
    results: list[Result] = field(default_factory=list)

    def write(self, results: Sequence[Result]) -> None:
        self.fail()
        self.results += results
        self.events += [("written", result.message.id) for result in results]

    def close(self) -> None:
        pass


def messages(pictures: Sequence[bytes | Frame], deliveries: int = 1) -> list[Message]:
    """Return messages whose ids are 0, 1, 2, ..."""
    return [
        Message("memory", str(number), picture, added_at=1000.0 + number, deliveries=deliveries)
        for number, picture in enumerate(pictures)
    ]
