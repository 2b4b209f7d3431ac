"""A real HTTP server on a real socket, whose response to each request is a function of the test."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

Behaviour = Callable[["Call"], Awaitable[None]]

# For events that happen as soon as the machine gets to them, however busy it is.
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Call:
    """A request that a server has received, and the means to respond."""

    head: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def write(self, text: str) -> None:
        """Send bytes of a response."""
        self.writer.write(text.encode())
        await self.writer.drain()

    async def wait_closed(self) -> None:
        """Return when the client has closed the connection."""
        try:
            while await self.reader.read(2**16):
                pass
        except ConnectionError:
            pass

    def reset(self) -> None:
        """End the connection as a crash does: with RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Server:
    """Responds to probes as `ready` says, and to other requests with `behaviour`."""

    ip: str
    behaviour: Behaviour
    port: int = 0
    ready: bool = True
    tls: ssl.SSLContext | None = None
    reads_body: bool = True
    """If not, the behaviour gets the request as soon as its head is there."""
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
            # What it has accepted becomes a connection in the next turns of the event loop.
            for _ in range(3):
                await asyncio.sleep(0)
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        # Not in the task: one that is cancelled at once never begins.
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                size = content_length(head) if self.reads_body else 0
                call = Call(head, await reader.readexactly(size), reader, writer)
                if head.startswith(("GET /readyz ", "GET /livez ")):
                    self.probes += 1
                    if self.before_probe:
                        await self.before_probe()
                    body = '{"title":"","detail":""}'
                    await call.write(response(200 if self.ready else 503, body))
                else:
                    self.calls.append(call)
                    await self.behaviour(call)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connections.discard(writer)


def content_length(head: str) -> int:
    """Return the size of the body that follows a head."""
    return int(head.lower().partition("content-length:")[2].partition("\r\n")[0] or 0)


def response(status: int, body: str = "{}", *headers: str) -> str:
    """Return an HTTP response."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines)


async def echo(call: Call) -> None:
    """Respond as a healthy endpoint: with the body as a JSON string."""
    await call.write(response(200, f'"{call.body.decode()}"'))


def respond(code: int, *headers: str) -> Behaviour:
    """Return a behaviour that responds with a status and its problem as the body."""
    problem = f'{{"title": "t{code}", "status": {code}, "detail": "d{code}"}}'
    return partial(_respond, text=response(code, problem, *headers))


async def _respond(call: Call, text: str) -> None:
    await call.write(text)


async def reset_without_response(call: Call) -> None:
    """End the connection with RST before any byte of the response."""
    call.reset()


async def reset_within_response(call: Call) -> None:
    """End the connection with RST in the middle of the body."""
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    call.reset()


async def close_within_response(call: Call) -> None:
    """Close the connection in the middle of the body."""
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    call.writer.close()


async def hang_without_response(call: Call) -> None:
    """Keep the connection open without a byte of a response."""
    await call.wait_closed()


async def hang_within_response(call: Call) -> None:
    """Keep the connection open with half a response."""
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await call.wait_closed()


async def speak_smtp(call: Call) -> None:
    """Send something other than HTTP."""
    await call.write("220 smtp.example.org ESMTP\r\n")


async def switch_protocols(call: Call) -> None:
    """Respond with a protocol that the request did not offer."""
    await call.write("HTTP/1.1 101 Now\r\nUpgrade: smtp\r\nConnection: Upgrade\r\n\r\nEHLO")


async def send_endless_head(call: Call) -> None:
    """Send 70 MB of headers."""
    await call.write("HTTP/1.1 200 OK\r\n")
    filler = "".join(f"X-Filler-{n}: {'a' * 1000}\r\n" for n in range(1000))
    for _ in range(70):
        await call.write(filler)


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return as soon as `condition` holds, while servers and callers go on."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110  # sockets set no event
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None
