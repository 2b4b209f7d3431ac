"""Load that web sends itself, where LIVE_LOAD allows it: to see the services scale."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from services.common.observe.logs import get_logger
from services.common.request.context import Deadline, RequestContext, accept_request_id

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from services.common.core.golden import Golden

MOST_RATE = 50.0
MOST_SECONDS = 60.0
# Beyond it, a picture is skipped: the services are slower than the rate.
_MOST_IN_FLIGHT = 64
_GOLDEN_TIMEOUT_MS = 5_000
# For the pictures under way when a load is stopped.
_FINISH_S = 5.0


class LoadOrder(BaseModel):
    """The body of POST /live/load."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rate: float = Field(gt=0, le=MOST_RATE)
    """Pictures per second."""
    seconds: float = Field(gt=0, le=MOST_SECONDS)


class LoadSender:
    """Sends the golden picture of the default model, again and again, as anyone would send it.

    The requests pass identity, limits and admission of this process like all others, with the
    credential of the one who asked for the load. There is one load at a time: the next one
    replaces it.
    """

    def __init__(
        self,
        path: str,
        request_golden: Callable[[RequestContext], Awaitable[Golden]],
    ) -> None:
        """Send requests to `path`."""
        self._path = path
        self._request_golden = request_golden
        self._running: asyncio.Task[None] | None = None
        self._rate = 0.0
        self._ends_at = 0.0
        self._stopped = asyncio.Event()
        self._turn = asyncio.Lock()

    @property
    def left_s(self) -> float:
        """Seconds until the load ends by itself; 0 without one."""
        return max(0.0, self._ends_at - time.monotonic()) if self._rate else 0.0

    @property
    def rate(self) -> float:
        """Pictures per second that it sends now."""
        return self._rate

    async def start(self, app: ASGIApp, order: LoadOrder, credential: Mapping[str, str]) -> None:
        """Send a load to an app, instead of the one that runs.

        Raises what requesting the picture raises.
        """
        context = RequestContext(accept_request_id(None), Deadline.after_ms(_GOLDEN_TIMEOUT_MS))
        golden = await self._request_golden(context)
        picture = base64.b64decode(golden.picture)
        async with self._turn:
            await self._end()
            self._rate, self._ends_at = order.rate, time.monotonic() + order.seconds
            self._stopped = asyncio.Event()
            self._running = asyncio.create_task(self._send_all(app, order, picture, credential))

    async def stop(self) -> None:
        """End the load, after the pictures under way; those that take long are given up."""
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        running, self._running, self._rate = self._running, None, 0.0
        if running is None:
            return
        self._stopped.set()
        await asyncio.wait({running}, timeout=_FINISH_S)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    async def _send_all(
        self, app: ASGIApp, order: LoadOrder, picture: bytes, credential: Mapping[str, str]
    ) -> None:
        import httpx  # noqa: PLC0415  # 0.1 s

        get_logger().info("load begins", rate=order.rate, seconds=order.seconds)
        transport = httpx.ASGITransport(app)
        headers = {"Content-Type": "image/*", **credential}
        began, sent = time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://self") as client:
                while not self._stopped.is_set():
                    elapsed_s = time.monotonic() - began
                    if elapsed_s >= order.seconds:
                        break
                    while sent < elapsed_s * order.rate:
                        sent += 1
                        if len(under_way) < _MOST_IN_FLIGHT:
                            one = asyncio.create_task(self._send(client, picture, headers))
                            under_way.add(one)
                            one.add_done_callback(under_way.discard)
                    pause_s = min(1 / order.rate, order.seconds - elapsed_s)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(pause_s):
                            await self._stopped.wait()
                self._rate = 0.0
                await asyncio.gather(*under_way, return_exceptions=True)
        finally:
            for one in under_way:
                one.cancel()
            get_logger().info("load ends", sent=sent)

    async def _send(
        self, client: httpx.AsyncClient, picture: bytes, headers: Mapping[str, str]
    ) -> None:
        await client.post(self._path, content=picture, headers=headers, timeout=None)
