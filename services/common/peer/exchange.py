"""HTTP/1.1 client for one endpoint: a pool of connections, one request at a time on each.

Each picture passes through here once per tier, so its cost counts:
docs/decisions/003-http-client.md compares it with aiohttp and httpx.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

from services.common.peer.addresses import Address

Buffer = bytes | memoryview
"""Bytes of a body; a memoryview has one dimension of single bytes."""

# Servers keep idle connections longer (75 s here), so a request rarely meets one that is closing.
_IDLE_TIMEOUT_S = 30.0
_MAX_IDLE = 64
# The largest response is a picture with boxes. The limit includes the head.
_MAX_RESPONSE_BYTES = 64 * 1024 * 1024
# Given to the transport at a time: it then buffers this much at most, plus its high-water mark.
# A tensor of 416 x 416 pixels (519 KB) still goes in one system call.
_MAX_WRITE_BYTES = 1024 * 1024
_FIRST_FINAL_STATUS = 200
_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})


class ConnectionFailed(Exception):
    """The connection could not be opened, or ended before the response was complete."""


class NotConnected(ConnectionFailed):
    """The connection could not be opened: nothing of the request was sent."""


class OutOfFiles(NotConnected):
    """This process may open no further file; that says nothing about the endpoint."""


class InvalidRequest(ValueError):
    """The request line or a header has a character that would change how the request is parsed."""


@dataclass(frozen=True)
class Request:
    """A request; the buffers of `content` are written one after another, without joining them."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: Sequence[Buffer] = ()

    def encode_head(self, host: str) -> bytes:
        """Return request line and headers, with `host` and `content-length`.

        Raises InvalidRequest for CR, LF or NUL in any of them, for a space in method or target, and
        for characters outside Latin-1: otherwise a value could add headers or a second request.
        """
        size = sum(len(buffer) for buffer in self.content)
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            f"host: {host}",
            f"content-length: {size}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        head = "\r\n".join(lines)
        breaks = len(lines) - 1
        if (head.count("\r"), head.count("\n"), head.count("\0")) != (breaks, breaks, 0):
            raise InvalidRequest(f"CR, LF or NUL in {_find_invalid(lines)!r}: percent-encode it")
        if lines[0].count(" ") != 2:
            raise InvalidRequest(f"space in the request line {lines[0]!r}: percent-encode it")
        try:
            return f"{head}\r\n\r\n".encode("latin-1")
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"not Latin-1: {error.object[error.start]!r}") from None


@dataclass(frozen=True)
class Response:
    """A complete response; header names are in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes


class _Connection(asyncio.Protocol):
    """One connection. It can carry the next request after a complete response."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.reusable = True
        self.has_response_bytes = False
        """Whether any byte of a response to the current request has arrived."""
        self.was_aborted = False
        """Whether this side ended it because the endpoint was ejected."""
        self._transport: asyncio.Transport | None = None
        self._response: asyncio.Future[Response] | None = None
        self._writing_paused = False
        self._writer: asyncio.Future[None] | None = None
        """Set while a request waits until the transport accepts more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    async def exchange(self, parts: Sequence[Buffer]) -> Response:
        """Write a request and return its response; raises ConnectionFailed."""
        response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._response = response
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self.has_response_bytes = False
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None:
            self._fail("the connection has ended")
        try:
            await self._write(parts, response)
            return await response
        finally:
            # If this is cancelled, no one retrieves the exception that `connection_lost` would set.
            response.cancel()

    async def _write(self, parts: Sequence[Buffer], response: asyncio.Future[Response]) -> None:
        """Write as fast as the endpoint reads; stop early if it responds before it has read all."""
        for buffers in _split(parts):
            if self._writing_paused:
                self._writer = asyncio.get_running_loop().create_future()
                response.add_done_callback(self._resume_writer)
                await self._writer
            if response.done() or self._transport is None:
                self.reusable = False
                return
            self._transport.writelines(buffers)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._resume_writer()

    def data_received(self, data: bytes) -> None:
        if self._response is None or self._response.done():
            # No request is under way. These bytes must not become the next request's response.
            self.close()
            return
        self.has_response_bytes = True
        self._size += len(data)
        if self._size > _MAX_RESPONSE_BYTES:
            self._fail(f"response exceeds {_MAX_RESPONSE_BYTES >> 20} MiB")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the response switches to another protocol")
        except httptools.HttpParserError as error:
            self._fail(f"malformed HTTP response: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.reusable = False
        self._fail("the connection ended before the response" if exc is None else str(exc))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._response is None or self._response.done():
            # A second response right behind the first, without a request.
            self.reusable = False
            return
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            # An interim response such as 100 Continue; the final one follows.
            self._headers, self._body = {}, []
            return
        has_sent_all = self._transport is not None and not self._transport.get_write_buffer_size()
        self.reusable = self._parser.should_keep_alive() and has_sent_all
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._response.set_result(Response(status, self._headers, body))

    def close(self) -> None:
        """Abort the connection; what is buffered is discarded."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str) -> None:
        if self._response is not None and not self._response.done():
            self._response.set_exception(ConnectionFailed(reason))
        self.close()

    def _resume_writer(self, _response: object = None) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)


class ConnectionPool:
    """The connections to one address. It opens as many as there are concurrent requests."""

    def __init__(
        self, address: Address, connect_timeout_s: float, tls_context: Callable[[], ssl.SSLContext]
    ) -> None:
        """Connections open with the first request; `tls_context` is called for each with TLS."""
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._tls_context = tls_context
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self.requests = 0
        """How many use this pool now, also those that still connect."""

    async def send_request(self, request: Request, timeout_s: float) -> Response:
        """Send a request and return the complete response.

        Raises ConnectionFailed, InvalidRequest, and TimeoutError after `timeout_s` seconds.
        """
        parts = [request.encode_head(self._address.host), *request.content]
        self.requests += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(parts)
        finally:
            self.requests -= 1

    def close(self) -> None:
        """Abort all connections; requests on them fail with ConnectionFailed."""
        for connection in (*self._idle, *self._busy):
            connection.was_aborted = True
            connection.close()
        self._idle.clear()

    def close_idle(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop().close()

    async def _send(self, parts: Sequence[Buffer]) -> Response:
        connection = self._take_idle()
        if connection is not None:
            try:
                return await self._exchange(connection, parts)
            except ConnectionFailed:
                # The server may close an idle connection at the moment it is used again. If it has
                # sent nothing, the request is safe to repeat on a new connection.
                if connection.has_response_bytes or connection.was_aborted:
                    raise
        return await self._exchange(await self._connect(), parts)

    async def _exchange(self, connection: _Connection, parts: Sequence[Buffer]) -> Response:
        self._busy.add(connection)
        try:
            response = await connection.exchange(parts)
        except BaseException:
            # Also if cancelled: a late response must not become that of the next request.
            connection.close()
            raise
        finally:
            self._busy.discard(connection)
        if connection.reusable and len(self._idle) < _MAX_IDLE:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and time.monotonic() - connection.idle_since < _IDLE_TIMEOUT_S:
                return connection
            connection.close()
        return None

    async def _connect(self) -> _Connection:
        address = self._address
        try:
            async with asyncio.timeout(self._connect_timeout_s) as limit:
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection,
                    address.ip,
                    address.port,
                    ssl=self._tls_context() if address.tls_name else None,
                    server_hostname=address.tls_name,
                )
        except TimeoutError:
            if limit.expired():
                raise NotConnected(f"no connection in {self._connect_timeout_s:g} s") from None
            raise
        except OSError as error:
            kind = OutOfFiles if error.errno in _OUT_OF_FILES else NotConnected
            raise kind(error.strerror or str(error)) from error
        return connection


def _split(parts: Sequence[Buffer]) -> Iterator[Sequence[Buffer]]:
    """Yield what to write at a time: everything, or slices of `_MAX_WRITE_BYTES`."""
    if sum(len(part) for part in parts) <= _MAX_WRITE_BYTES:
        yield parts
        return
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _MAX_WRITE_BYTES):
            yield [view[start : start + _MAX_WRITE_BYTES]]


def _find_invalid(lines: Sequence[str]) -> str:
    """Return the first line that has CR, LF or NUL in it, cut to a length for messages."""
    return next(line for line in lines if any(char in line for char in "\r\n\0"))[:200]
