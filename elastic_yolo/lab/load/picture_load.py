"""The load of the lab: pictures at a rate, each on a connection of its own, bounded in number."""

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
from elastic_yolo.lab.load.client import LOST, Client
from elastic_yolo.lab.load.wire import NotUnderstood, Target

MAX_IN_FLIGHT = 32
"""More than this many at once are not sent: a laptop would only queue them."""
MAX_RATE = 500.0
_TICK_S = 0.01


@dataclass
class Load:
    """Sends pictures and counts what comes back."""

    url: str
    pictures: Sequence[bytes]
    statuses: Counter[int] = field(default_factory=Counter)
    """Of all answers; LOST where there was none."""
    held_back: int = 0
    """Pictures that were due while too many were under way."""
    first_failure: str | None = None
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """Pictures that have been answered or lost."""
        return self.statuses.total()

    @property
    def failed(self) -> int:
        """Of those, without an answer 200."""
        return self.sent - self.statuses[200]

    @property
    def under_way(self) -> int:
        """Pictures that have been sent and not been answered."""
        return len(self._under_way)

    async def run(self, arrivals: Arrivals) -> None:
        """Send pictures when they are due, until the end of `arrivals`; then wait for the rest."""
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
            await self.finish()

    async def finish(self) -> None:
        """Wait for what is under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def send(self, picture: bytes) -> None:
        """Send one picture and count its answer."""
        client = Client(Target(self.url), picture)
        try:
            answer = await client.ask()
        except (OSError, TimeoutError, NotUnderstood) as error:
            self._count(LOST, f"no answer: {error or type(error).__name__}")
        else:
            self._count(answer.status, f"{answer.status}: {_detail(answer.body)}")
        finally:
            client.close()

    def _begin(self, picture: bytes) -> None:
        if len(self._under_way) >= MAX_IN_FLIGHT:
            self.held_back += 1
            return
        task = asyncio.create_task(self.send(picture))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _count(self, status: int, words: str) -> None:
        self.statuses[status] += 1
        if status != 200 and self.first_failure is None:
            self.first_failure = words


def _detail(body: bytes) -> str:
    """Return what a problem says of itself, or the beginning of whatever was answered."""
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["detail"])
    return body[:100].decode(errors="replace")
