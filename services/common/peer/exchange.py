"""HTTP/1.1 as our services speak it to each other: one request, one answer, one connection each.

There is one hop for each tier and picture, so the cost of it counts: see
docs/decisions/003-http-client.md.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import httptools

from services.common.peer.addresses import Address

Buffer = bytes | memoryview

# Idle connections are kept for less time than servers keep them (75 s here), so that a request
# does not meet a server that hangs up.
_IDLE_S = 30.0
_MAX_IDLE = 64
# The largest answer is a golden picture; more than this, head included, is no answer of ours.
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_FIRST_FINAL_STATUS = 200


class ConnectionFailed(Exception):
    """No connection, or it ended before the whole answer was there."""


@dataclass(frozen=True)
class Response:
    """An answer; names of headers are in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes


class _Exchange(asyncio.Protocol):
    """One connection: sends a request, parses the answer, and can be used again if it was whole."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.idle_since = 0.0
        self.reusable = True
        self.heard = False
        self.given_up = False
        self._answer: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def send(self, parts: Sequence[Buffer]) -> asyncio.Future[Response]:
        """Send a request, whose parts are written as they are, and return the future answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0
        self.heard = False
        self._parser = httptools.HttpResponseParser(self)
        if self.transport is None:
            self._fail("the connection has ended")
        else:
            self.transport.writelines(parts)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Nothing was asked: whatever this is, it is not to be taken for the next answer.
            self.close()
            return
        self.heard = True
        self._size += len(data)
        if self._size > _MAX_ANSWER_BYTES:
            self._fail("an answer without end")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"an answer that is no HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.reusable = False
        self._fail("the connection ended before the answer" if exc is None else str(exc))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._answer is None or self._answer.done():
            # A second answer in one piece with the first: nobody asked for it.
            self.reusable = False
            return
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            # "Continue" and the like; the answer itself is still to come.
            self._headers, self._body = {}, []
            return
        self.reusable = self._parser.should_keep_alive()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._answer.set_result(Response(status, self._headers, body))

    def close(self) -> None:
        """End the connection at once."""
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionFailed(why))
        self.close()


class Connections:
    """The connections to one address: as many as there are requests at once."""

    def __init__(self, address: Address, connect_timeout_s: float) -> None:
        """Open nothing yet."""
        self._address = address
        self._connect_timeout_s = connect_timeout_s
        self._tls = ssl.create_default_context() if address.tls_name else None
        self._idle: list[_Exchange] = []
        self._busy: set[_Exchange] = set()

    async def request(self, head: bytes, content: Sequence[Buffer], timeout_s: float) -> Response:
        """Send a request and return the whole answer.

        Raises ConnectionFailed, and TimeoutError if it takes longer than `timeout_s` seconds.
        """
        parts = [head, *content]
        async with asyncio.timeout(timeout_s):
            exchange = self._take_idle()
            if exchange is not None:
                try:
                    return await self._ask(exchange, parts)
                except ConnectionFailed:
                    # A server may end a connection that nobody uses, just when somebody does. If
                    # it has said nothing yet the request can be sent again, on a new one.
                    if exchange.heard or exchange.given_up:
                        raise
            return await self._ask(await self._connect(), parts)

    def close(self) -> None:
        """End all connections; requests on them fail with ConnectionFailed."""
        for exchange in (*self._idle, *self._busy):
            exchange.given_up = True
            exchange.close()
        self._idle.clear()

    async def _ask(self, exchange: _Exchange, parts: list[Buffer]) -> Response:
        self._busy.add(exchange)
        try:
            response = await exchange.send(parts)
        except BaseException:
            # Also when nobody waits any more: the answer would be taken for that of the next.
            exchange.close()
            raise
        finally:
            self._busy.discard(exchange)
        if exchange.reusable and len(self._idle) < _MAX_IDLE:
            exchange.idle_since = time.monotonic()
            self._idle.append(exchange)
        else:
            exchange.close()
        return response

    def _take_idle(self) -> _Exchange | None:
        while self._idle:
            exchange = self._idle.pop()
            if exchange.reusable and time.monotonic() - exchange.idle_since < _IDLE_S:
                return exchange
            exchange.close()
        return None

    async def _connect(self) -> _Exchange:
        address = self._address
        try:
            async with asyncio.timeout(self._connect_timeout_s) as patience:
                _, exchange = await asyncio.get_running_loop().create_connection(
                    _Exchange,
                    address.ip,
                    address.port,
                    ssl=self._tls,
                    server_hostname=address.tls_name,
                )
        except TimeoutError:
            if patience.expired():
                raise ConnectionFailed("no connection within the time for it") from None
            raise
        except OSError as error:
            raise ConnectionFailed(str(error)) from error
        return exchange
