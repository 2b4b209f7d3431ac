"""Read request bodies without letting a stranger fill the memory."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.common.context import context_of
from services.common.errors import BodyTooLarge, DeadlineExceeded, MalformedRequest


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body.

    Raises BodyTooLarge once more than `max_bytes` are announced or sent, and DeadlineExceeded for
    a body that trickles in for longer than the request may take.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(context_of(request.scope).deadline.remaining_s()):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(max_bytes)
                chunks.append(chunk)
    except TimeoutError:
        raise DeadlineExceeded("the body did not arrive in time") from None
    except ClientDisconnect:
        raise MalformedRequest("the connection ended inside the body") from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body exceeds the limit of {max_bytes:,} bytes")
