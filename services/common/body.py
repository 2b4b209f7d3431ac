"""Read request bodies without letting a stranger fill the memory."""

from __future__ import annotations

from fastapi import Request
from starlette.requests import ClientDisconnect

from services.common.errors import BodyTooLarge, MalformedRequest


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the body; raises BodyTooLarge once more than `max_bytes` are announced or sent."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise MalformedRequest("the connection ended inside the body") from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body exceeds the limit of {max_bytes:,} bytes")
