"""One request as a caller sends it, fast, slowly or not to its end, and what comes back."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

# The services' own limit of a request is 30 s: a response that takes longer is lost.
RESPONSE_TIMEOUT_S = 45.0
_READ_SIZE = 2**14
# A slow reader's: the kernel would take a whole picture off the service at once.
_SMALL_BUFFER = 4096
_MOST_KEPT = 4


class Address(NamedTuple):
    """Where a request goes: a process of the stack, by its name and port."""

    name: str
    port: int


class End(Enum):
    """How a request ended."""

    ANSWER = "answer"
    CLOSED = "closed without an answer"
    REFUSED = "connection refused"
    TIMEOUT = "no answer in time"
    LEFT = "the caller left"


class Leaving(Enum):
    """When a caller leaves: once all pieces are sent, or in the answer."""

    AFTER_SENDING = "after sending"
    IN_ANSWER = "in the answer"


@dataclass(frozen=True)
class Request:
    """The bytes of a request, in pieces, and how its caller behaves."""

    to: Address
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    """Between two pieces."""
    read_after_s: float = 0.0
    """From the last piece until the caller begins to read, with a small buffer."""
    kept: bool = False
    """Whether a kept connection is used, and kept for the next request."""
    leaving: Leaving | None = None
    reset: bool = False
    """Whether a caller that leaves sends RST, as a crash does, and not FIN."""
    without_body: bool = False
    """Whether the answer has no body, whatever its Content-Length: HEAD."""


@dataclass(frozen=True)
class Reply:
    """What came back. Header names are in lower case."""

    end: End
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class _Broken(Exception):
    """The connection ended before the end of an answer; `clean` before its first byte."""

    def __init__(self, *, clean: bool) -> None:
        super().__init__()
        self.clean = clean


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self, *, reset: bool = False) -> None:
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        self.writer.close()

    async def send(self, request: Request) -> None:
        with suppress(ConnectionError):  # whoever reads sees how it ended
            for number, piece in enumerate(request.pieces):
                if number and request.pause_s:
                    await asyncio.sleep(request.pause_s)
                self.writer.write(piece)
                await self.writer.drain()

    async def receive(self, request: Request) -> Reply:
        """Return an answer; raises _Broken."""
        head = b""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, headers = _parse_head(head)
            size = 0 if request.without_body else int(headers.get("content-length", 0))
            body = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            begun = bool(head or getattr(error, "partial", b""))
            raise _Broken(clean=not begun) from None
        return Reply(End.ANSWER, status, headers, body)


class Callers:
    """Sends requests; some share connections that are kept open."""

    def __init__(self) -> None:
        """Start with no connection."""
        self._kept: defaultdict[int, list[_Connection]] = defaultdict(list)

    async def send(self, request: Request) -> Reply:
        """Send a request and return its answer, or how it ended without one."""
        while request.kept and self._kept[request.to.port]:
            connection = self._kept[request.to.port].pop()
            try:
                return await self._use(connection, request)
            except _Broken as error:
                # A service may close an idle connection at any time; callers send again.
                if not error.clean:
                    return Reply(End.CLOSED)
        try:
            connection = await _connect(request)
        except OSError:
            return Reply(End.REFUSED)
        try:
            return await self._use(connection, request)
        except _Broken:
            return Reply(End.CLOSED)

    def close(self) -> None:
        """Close the kept connections."""
        for connections in self._kept.values():
            while connections:
                connections.pop().close()

    async def _use(self, connection: _Connection, request: Request) -> Reply:
        keep = False
        sending = asyncio.create_task(connection.send(request))
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_S):
                reply = await _converse(connection, request, sending)
            keep = (
                request.kept
                and reply.end is End.ANSWER
                and sending.done()
                and reply.headers.get("connection", "").lower() != "close"
                and len(self._kept[request.to.port]) < _MOST_KEPT
            )
        except TimeoutError:
            return Reply(End.TIMEOUT)
        finally:
            sending.cancel()
            if keep:
                self._kept[request.to.port].append(connection)
            else:
                connection.close(reset=request.reset)
        return reply


async def _converse(
    connection: _Connection, request: Request, sending: asyncio.Task[None]
) -> Reply:
    if request.leaving is Leaving.AFTER_SENDING:
        await sending
        return Reply(End.LEFT)
    if request.leaving is Leaving.IN_ANSWER:
        with suppress(ConnectionError):
            await connection.reader.read(1)
        return Reply(End.LEFT)
    if request.read_after_s:
        await sending
        await asyncio.sleep(request.read_after_s)
    # At the same time as the rest is sent: a service may refuse a request before its end.
    return await connection.receive(request)


async def _connect(request: Request) -> _Connection:
    sock = socket.socket()
    try:
        if request.read_after_s:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, ("127.0.0.1", request.to.port))
        return _Connection(*await asyncio.open_connection(sock=sock, limit=_READ_SIZE))
    except BaseException:
        sock.close()
        raise


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines if line)
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}
