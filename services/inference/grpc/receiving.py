"""Receive the messages of calls, within limits on memory and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import grpc.aio

from services.common.request.context import TIME_OVER, Deadline
from services.common.request.errors import DeadlineExceeded

Context = grpc.aio.ServicerContext[Any, Any]


class Receiver:
    """Receives a few messages at a time, first come, first served.

    gRPC reveals the size of a message only when all of it is in memory. An attack: a hundred
    callers that send a message of the largest size at once.
    """

    def __init__(self, *, at_once: int, stall_s: float) -> None:
        """Receive `at_once` messages at a time.

        A caller that takes longer than `stall_s` seconds has lost its connection, or holds a turn
        on purpose.
        """
        self._turns = asyncio.Semaphore(at_once)
        self._stall_s = stall_s

    async def receive(self, call: Context, deadline: Deadline) -> bytes | None:
        """Return the next message of a call, or None if its caller sends no more.

        None as well for a message above the limit on its length, with which gRPC ends the call.
        Raises DeadlineExceeded if the message does not arrive until the deadline, or within
        `stall_s` seconds after its turn has come.
        """
        try:
            async with asyncio.timeout(deadline.remaining_s()), self._turns:
                async with asyncio.timeout(self._stall_s):
                    message: object = await call.read()
        except TimeoutError:
            reason = (
                TIME_OVER if deadline.left_s <= 0 else f"it took longer than {self._stall_s:g} s"
            )
            raise DeadlineExceeded(f"the message did not arrive in time: {reason}") from None
        return None if message is grpc.aio.EOF else cast("bytes", message)

    async def receive_all(self, call: Context, deadline: Deadline) -> AsyncIterator[bytes]:
        """Yield the messages of a call until its caller sends no more, or none in time."""
        with suppress(DeadlineExceeded):
            while (message := await self.receive(call, deadline)) is not None:
                yield message
