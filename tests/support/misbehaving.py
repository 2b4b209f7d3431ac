"""A real server on a real socket that does what a test wants to a request."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Behaviour = Callable[["Call"], Awaitable[None]]


@dataclass(frozen=True)
class Call:
    """A request that has arrived, and the way to answer it."""

    head: str
    body: bytes
    writer: asyncio.StreamWriter

    async def write(self, text: str) -> None:
        """Send bytes of an answer."""
        self.writer.write(text.encode())
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection as a crash does: with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Server:
    """Answers probes as `ready` says and everything else as `behaviour` does."""

    ip: str
    behaviour: Behaviour
    port: int = 0
    ready: bool = True
    tls: ssl.SSLContext | None = None
    before_probe: Callable[[], Awaitable[object]] | None = None
    probes: int = 0
    calls: list[Call] = field(default_factory=list)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{self.ip}:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._accept, self.ip, self.port, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = int(head.lower().partition("content-length:")[2].partition("\r\n")[0] or 0)
                call = Call(head, await reader.readexactly(size), writer)
                if head.startswith(("GET /readyz ", "GET /livez ")):
                    self.probes += 1
                    if self.before_probe:
                        await self.before_probe()
                    await call.write(answer(200 if self.ready else 503, '{"title":"","detail":""}'))
                else:
                    self.calls.append(call)
                    await self.behaviour(call)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)
            writer.transport.abort()


def answer(status: int, body: str = "{}", *headers: str) -> str:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines)


def problem(status: int) -> str:
    """Return the body of a problem."""
    return f'{{"title": "t{status}", "status": {status}, "detail": "d{status}"}}'


async def until(fact: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    """Return as soon as `fact` holds, letting servers and callers go on meanwhile."""
    try:
        async with asyncio.timeout(timeout_s):
            while not fact():  # noqa: ASYNC110  # facts about sockets set no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
