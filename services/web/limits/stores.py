"""Where the usage of all clients is kept: in this process. `redis_store.py` is for several."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from services.common.request.identity import Limits
from services.web.limits.usage import Usage, Verdict

# A usage takes half a kilobyte. An attack: pictures from invented clients, IPv6 addresses perhaps.
MOST_CLIENTS = 20_000
# Clients that are looked at to find one whose usage need not be kept.
_LOOKED_AT = 8


@dataclass(frozen=True)
class Grant:
    """The answer of a store; `give_back` must be called when a picture that was let in is over."""

    verdict: Verdict
    give_back: Callable[[], None]


class UsageStore(Protocol):
    """Counts the pictures of all clients."""

    async def take(self, client: str, limits: Limits) -> Grant:
        """Count a picture if it is within the limits; raises Unavailable."""


class MemoryStore:
    """Keeps the usage in this process."""

    def __init__(self, clock: Callable[[], float] = time.time, most: int = MOST_CLIENTS) -> None:
        """Remember `most` clients; beyond that the one without a picture for longest is new."""
        self._clock = clock
        self._most = most
        self._usages: OrderedDict[str, tuple[Usage, Limits]] = OrderedDict()

    @property
    def clients(self) -> int:
        """How many clients are remembered."""
        return len(self._usages)

    async def take(self, client: str, limits: Limits) -> Grant:
        """Count a picture if it is within the limits."""
        now = self._clock()
        known = self._usages.get(client)
        if known is None:
            self._make_room(now)
        usage = Usage() if known is None else known[0]
        self._usages[client] = usage, limits
        self._usages.move_to_end(client)
        verdict = usage.take(limits, now)
        if verdict.refusal is None:
            return Grant(verdict, lambda: self._give_back(usage))
        return Grant(verdict, lambda: None)

    def _give_back(self, usage: Usage) -> None:
        usage.in_progress -= 1

    def _make_room(self, now: float) -> None:
        """Forget the oldest clients that are as new, and at the limit the oldest that is idle."""
        for name, (usage, limits) in list(islice(self._usages.items(), _LOOKED_AT)):
            if usage.is_as_new(limits, now):
                del self._usages[name]
        while len(self._usages) >= self._most:
            idle = (name for name, (usage, _) in self._usages.items() if usage.in_progress == 0)
            # Those in progress are connections, which are bounded too.
            name = next(idle, next(iter(self._usages)))
            del self._usages[name]
