"""Read request bodies without letting strangers fill the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.common.request.context import context_of
from services.common.request.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    MalformedRequest,
    TooManyRequests,
)

# Who sends nothing for so long is gone, or wants to hold on to what others need.
_STALL_S = 5.0


class Bodies:
    """The bodies that this process holds: each has a limit, and all of them together."""

    def __init__(self, max_held_bytes: int) -> None:
        """Hold at most `max_held_bytes`, whatever is sent at once."""
        self._limit = max_held_bytes
        self.held_bytes = 0

    @asynccontextmanager
    async def receive_body(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        """Read a body and yield it; its bytes count as held until the block ends.

        Raises BodyTooLarge once more than `max_bytes` are announced or sent, TooManyRequests if
        all bodies together would exceed their limit, DeadlineExceeded for a body that trickles in
        for longer than the request may take, or of which nothing comes for five seconds.
        """
        announced = request.headers.get("content-length", "")
        if announced.isdigit() and int(announced) > max_bytes:
            raise _too_large(max_bytes)
        chunks: list[bytes] = []
        try:
            await self._read(request, max_bytes, chunks)
            if len(chunks) != 1:
                chunks[:] = [b"".join(chunks)]
            yield chunks[0]
        finally:
            self.held_bytes -= sum(len(chunk) for chunk in chunks)

    async def _read(self, request: Request, max_bytes: int, chunks: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + context_of(request.scope).deadline.remaining_s()
        size = 0
        try:
            async with asyncio.timeout_at(min(until, loop.time() + _STALL_S)) as patience:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    self._hold(len(chunk))
                    chunks.append(chunk)
                    patience.reschedule(min(until, loop.time() + _STALL_S))
        except TimeoutError:
            raise DeadlineExceeded("the body did not arrive in time") from None
        except ClientDisconnect:
            raise MalformedRequest("the connection ended inside the body") from None

    def _hold(self, size: int) -> None:
        if self.held_bytes + size > self._limit:
            raise TooManyRequests(
                "too many large requests are on their way: try again in 1 s", 1, "bodies_too_large"
            )
        self.held_bytes += size


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body exceeds the limit of {max_bytes:,} bytes")
