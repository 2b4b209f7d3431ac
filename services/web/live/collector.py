"""Looks at all services while somebody watches, and sends each viewer the same bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from services.common.core.probes import Phase, Readiness
from services.common.observe.logs import get_logger
from services.common.request.errors import ServiceError, Unauthorized, Unavailable
from services.web.live.autoscalers import Autoscalers
from services.web.live.poll import Poll
from services.web.live.view import View

PERIOD_S = 0.5
# If looking takes longer, others get the event loop for so long in between.
_PAUSE_S = 0.1
# Without a tick for so long, a viewer gets a comment: proxies end silent connections.
_SILENCE_S = 5.0
MOST_VIEWERS = 60
# How often the credential of a viewer is checked again.
_CHECK_PERIOD_S = 5.0

Check = Callable[[], Awaitable[None]]
"""Raises Unauthorized if a caller is no longer known."""
_STILL_HERE = b": still here\n\n"


class Looks(Protocol):
    """What the collector polls."""

    async def look(self, credential: Mapping[str, str]) -> Poll:
        """Return all processes that can be seen now."""


@dataclass(frozen=True)
class Sources:
    """What the collector asks."""

    services: Looks
    autoscalers: Autoscalers


@dataclass(eq=False)
class _Viewer:
    credential: Mapping[str, str]
    last: int = 0
    """The number of the tick that it got last."""


@dataclass(frozen=True)
class _Tick:
    number: int
    data: bytes


class Collector:
    """One for all viewers of this process. Without viewers it does nothing.

    Nothing is kept for a viewer that reads slowly: it gets the newest state when it can take it.
    """

    def __init__(
        self,
        sources: Callable[[], AbstractAsyncContextManager[Sources]],
        readiness: Readiness,
        *,
        may_load: bool,
    ) -> None:
        """Open the sources for the first viewer, and close them after the last."""
        self._sources = sources
        self._readiness = readiness
        self._may_load = may_load
        self._viewers: dict[_Viewer, None] = {}
        self._running: asyncio.Task[None] | None = None
        self._view = View(may_load=may_load)
        self._tick: _Tick | None = None
        self._snapshot: bytes | None = None
        self._ticked = asyncio.Event()

    @property
    def viewers(self) -> int:
        """How many watch now."""
        return len(self._viewers)

    @property
    def is_running(self) -> bool:
        """Whether it looks at the services."""
        return self._running is not None

    def require_room(self) -> None:
        """Raise Unavailable if too many watch, or the process drains."""
        self._readiness.require()
        if len(self._viewers) >= MOST_VIEWERS:
            raise Unavailable(f"{MOST_VIEWERS} watch already: try later", 10.0)

    async def watch(
        self, credential: Mapping[str, str], check_identity: Check | None = None
    ) -> AsyncIterator[bytes]:
        """Yield server-sent events until the process drains; raises what `require_room` raises.

        They also end when `check_identity` raises Unauthorized: a key may be revoked, and a token
        expires.
        """
        checked_at = time.monotonic()
        async with self._counted(credential) as viewer:
            while self._readiness.phase is Phase.SERVING:
                if check_identity is not None and time.monotonic() - checked_at > _CHECK_PERIOD_S:
                    checked_at = time.monotonic()
                    if not await _is_known(check_identity):
                        return
                ticked = self._ticked
                tick = self._tick
                if tick is None or tick.number == viewer.last:
                    try:
                        async with asyncio.timeout(_SILENCE_S):
                            await ticked.wait()
                    except TimeoutError:
                        yield _STILL_HERE
                    continue
                is_next = viewer.last and tick.number == viewer.last + 1
                viewer.last = tick.number
                yield tick.data if is_next else self._snapshot_data()

    @asynccontextmanager
    async def _counted(self, credential: Mapping[str, str]) -> AsyncIterator[_Viewer]:
        self.require_room()
        viewer = _Viewer(credential)
        self._viewers[viewer] = None
        if self._running is None:
            self._begin()
        try:
            yield viewer
        finally:
            del self._viewers[viewer]
            if not self._viewers:
                self.close()

    def _begin(self) -> None:
        self._view = View(may_load=self._may_load)
        self._tick = self._snapshot = None
        self._running = asyncio.create_task(self._run())

    def close(self) -> None:
        """Stop looking."""
        if self._running is not None:
            self._running.cancel()
            self._running = None

    async def _run(self) -> None:
        # Unix seconds that go on evenly where somebody sets the clock of the machine.
        epoch = time.time() - time.monotonic()
        drained = asyncio.create_task(self._readiness.wait_for_end_of(Phase.SERVING))
        try:
            async with self._sources() as sources:
                number = 0
                while not drained.done():
                    due = time.monotonic() + PERIOD_S
                    number += 1
                    try:
                        await self._look(number, sources, epoch)
                    except Exception:  # noqa: BLE001  # one bad answer must not end the view
                        get_logger().exception("live view failed")
                    pause_s = max(_PAUSE_S, due - time.monotonic())
                    await asyncio.wait({drained}, timeout=pause_s)
            # Wakes the viewers, whose streams end.
            self._publish(None)
        finally:
            drained.cancel()

    async def _look(self, number: int, sources: Sources, epoch: float) -> None:
        # Of the newest viewer: it was checked last.
        credential = next((one.credential for one in reversed(self._viewers)), {})
        seen = await sources.services.look(credential)
        scalers = await sources.autoscalers.read()
        now = epoch + time.monotonic()
        changes = self._view.note(now, self._view.fleet.update(now, seen), scalers)
        self._publish(_Tick(number, _event("tick", self._view.tick(changes))))

    def _publish(self, tick: _Tick | None) -> None:
        self._tick = tick
        self._snapshot = None
        ticked, self._ticked = self._ticked, asyncio.Event()
        ticked.set()

    def _snapshot_data(self) -> bytes:
        """Return the state with its past; all viewers that need it at this tick share it."""
        if self._snapshot is None:
            self._snapshot = _event("snapshot", self._view.snapshot())
        return self._snapshot


async def _is_known(check_identity: Check) -> bool:
    try:
        await check_identity()
    except Unauthorized:
        return False
    except ServiceError:
        # The issuer cannot be asked, for example: who was known stays so.
        return True
    return True


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps(data))
