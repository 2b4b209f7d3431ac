"""The lab's load: pictures at a varying rate, each on a connection of its own.

A new connection for every picture lets the lab's Service spread pictures over the pods.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from elastic_yolo.lab.load.arrivals import Arrivals
from elastic_yolo.lab.load.client import LOST, send_once
from elastic_yolo.lab.load.wire import Target, UnsupportedResponse

MAX_IN_FLIGHT = 32
"""The client's limit: a picture that is due beyond it is never sent."""
MAX_RATE = 500.0
_TICK_S = 0.01


@dataclass
class Load:
    """Sends pictures and counts the responses."""

    url: str
    pictures: Sequence[bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    """Of all responses; LOST where there was none."""
    never_sent: int = 0
    """Pictures that were due while the client's limit was reached."""
    first_failure: str | None = None
    slowest_s: float = 0.0
    """The longest time to a response."""
    _in_flight: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """Pictures with a response, and lost ones."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Pictures without a response of status 200."""
        return self.sent - self.statuses[200]

    async def run(self, arrivals: Arrivals) -> None:
        """Send pictures when they are due until `arrivals` end, then await the last responses."""
        start = last = time.monotonic()
        pictures, due = itertools.cycle(self.pictures), 0.0
        try:
            while (now := time.monotonic()) - start < arrivals.duration_s:
                due += min(arrivals.rate(now - start), MAX_RATE) * (now - last)
                last = now
                for _ in range(int(due)):
                    self._begin(next(pictures))
                due -= int(due)
                await asyncio.sleep(_TICK_S)
        finally:
            while self._in_flight:
                await asyncio.wait(self._in_flight)

    async def send(self, picture: bytes) -> None:
        """Send one picture and count its response."""
        began = time.monotonic()
        try:
            response = await send_once(Target(self.url), picture)
        except (OSError, TimeoutError, UnsupportedResponse) as error:
            self._count(LOST, f"no response: {error or type(error).__name__}")
        else:
            self._count(response.status, f"{response.status}: {_detail(response.body)}")
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def _begin(self, picture: bytes) -> None:
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self.never_sent += 1
            return
        task = asyncio.create_task(self.send(picture))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    def _count(self, status: int, words: str) -> None:
        self.statuses[status] += 1
        if status != 200 and self.first_failure is None:
            self.first_failure = words


def _detail(body: bytes) -> str:
    """Return the detail of a problem document, or the first 100 bytes of any other body."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["detail"])
    return body[:100].decode(errors="replace")
