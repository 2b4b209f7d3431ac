"""Request bodies, read within limits on size, memory and time; and response bodies in JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from elastic_yolo.freed_memory import return_freed_memory_soon
from services.common.request.content_encoding import choose_inflater
from services.common.request.context import TIME_OVER, context_of
from services.common.request.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    LengthRequired,
    MalformedRequest,
    TooManyRequests,
)

# A caller that sends nothing for longer has lost its connection, or holds memory on purpose.
_STALL_S = 5.0
# Smaller pieces of a body are joined as they arrive.
_PIECE_BYTES = 16 * 1024
# Pieces of a compressed body that may follow each other without content before others are served.
_EMPTY_PIECES = 120


class Bodies:
    """All request bodies that this process holds in memory, with a limit on their sum."""

    def __init__(self, max_held_bytes: int) -> None:
        """Hold at most `max_held_bytes` of all requests together."""
        self._limit = max_held_bytes
        self.held_bytes = 0

    @asynccontextmanager
    async def receive_body(
        self,
        request: Request,
        max_bytes: int,
        select: Callable[[bytes], bytes] | None = None,
    ) -> AsyncIterator[bytes]:
        """Read a body and yield it; its bytes count as held until the block ends.

        A body that arrives compressed is yielded and counted as it was before. `select` gets each
        piece of the body and returns what to keep of it; by default, all is kept.

        Raises BodyTooLarge if Content-Length or the body itself exceeds `max_bytes` or all that
        may be held, LengthRequired if the head does not say where the body ends,
        UnsupportedEncoding, TooManyRequests if all bodies together would exceed their limit,
        MalformedRequest for a body that cannot be decompressed, DeadlineExceeded if the body is
        incomplete at the request's deadline or nothing of it arrives for five seconds.
        """
        max_bytes = min(max_bytes, self._limit)
        _check_length(request, max_bytes)
        kept = _Pieces()
        size = 0
        try:
            async with _time_limit(request) as restart:
                async for piece in _read_pieces(request, restart):
                    size += len(piece)
                    if size > max_bytes:
                        raise _too_large(max_bytes)
                    selected = piece if select is None else select(piece)
                    self._hold(len(selected))
                    kept.append(selected)
            yield kept.join()
        finally:
            self.held_bytes -= kept.size

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Count a body of `size` bytes that arrived another way as held until the block ends.

        Raises TooManyRequests if all bodies together would exceed their limit.
        """
        self._hold(size)
        try:
            yield
        finally:
            self.held_bytes -= size

    def _hold(self, size: int) -> None:
        if self.held_bytes + size > self._limit:
            return_freed_memory_soon()
            raise TooManyRequests(
                f"request bodies in memory reach the limit of {self._limit:,} bytes: "
                "try again in 1 s",
                1,
                "bodies_too_large",
            )
        self.held_bytes += size


class JsonResponse(Response):
    """A JSON response, written by orjson; the standard library takes 0.05 ms for a dozen boxes."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return orjson.dumps(content)


class _Pieces:
    """The pieces of a body that arrives."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes | bytearray] = []

    def append(self, piece: bytes) -> None:
        """Add a piece; an object for each single byte would take forty times its size."""
        self.size += len(piece)
        last = self._pieces[-1] if self._pieces else b""
        if isinstance(last, bytearray) and len(last) < _PIECE_BYTES:
            last += piece
        elif piece:
            self._pieces.append(piece if len(piece) >= _PIECE_BYTES else bytearray(piece))

    def join(self) -> bytes:
        """Return the body, without having all of it in memory twice."""
        if len(self._pieces) == 1:
            return bytes(self._pieces.pop())
        # It grows in place, and gives up its bytes without a copy.
        joined = BytesIO()
        self._pieces.reverse()
        while self._pieces:
            joined.write(self._pieces.pop())
        return joined.getvalue()


def states_length(request: Request) -> bool:
    """Return whether the head says where the body ends; otherwise the request has no body."""
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _check_length(request: Request, max_bytes: int) -> None:
    """Raise an error if the head tells that the body is too large, or nothing about its end."""
    announced = request.headers.get("content-length")
    coding = request.headers.get("transfer-encoding")
    if not states_length(request):
        raise LengthRequired(
            "the request states no length: send Content-Length, or Transfer-Encoding: chunked"
        )
    if coding is not None and coding.lower() != "chunked":
        raise MalformedRequest(f"Transfer-Encoding {coding[:80]!r} is not accepted: send chunked")
    if announced is not None and announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)


@asynccontextmanager
async def _time_limit(request: Request) -> AsyncIterator[Callable[[], None]]:
    """Raise DeadlineExceeded in the block at the deadline, or five seconds after the last call."""
    loop = asyncio.get_running_loop()
    until = loop.time() + context_of(request.scope).deadline.remaining_s()
    try:
        async with asyncio.timeout_at(min(until, loop.time() + _STALL_S)) as stall:
            yield lambda: stall.reschedule(min(until, loop.time() + _STALL_S))
    except TimeoutError:
        stalled = f"no data arrived for {_STALL_S:g} s"
        reason = stalled if loop.time() < until else TIME_OVER
        raise DeadlineExceeded(f"the request's body did not arrive in time: {reason}") from None


async def _read_pieces(request: Request, restart: Callable[[], None]) -> AsyncIterator[bytes]:
    """Yield the body, decompressed; `restart` is called when something has arrived."""
    encodings = request.headers.getlist("content-encoding")
    inflater = choose_inflater(",".join(encodings)) if encodings else None
    try:
        async for chunk in request.stream():
            restart()
            if inflater is None:
                yield chunk
                continue
            for number, piece in enumerate(inflater.inflate(chunk)):
                if piece:
                    yield piece
                # A small chunk may hold megabytes, or many empty members: others are served in
                # between.
                if piece or number % _EMPTY_PIECES == 0:
                    await asyncio.sleep(0)
                    restart()
    except ClientDisconnect:
        raise MalformedRequest("the connection ended before the end of the body") from None
    if inflater is not None:
        inflater.finish()


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body exceeds the limit of {max_bytes:,} bytes")
