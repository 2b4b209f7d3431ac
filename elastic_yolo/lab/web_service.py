"""The Service of web: one address that forwards connections to the ready pods.

Like a ClusterIP it balances connections, not requests, and does not parse them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from elastic_yolo.lab.processes.stack import LOOPBACK

_CHUNK = 1 << 16


class WebService:
    """Accepts connections on a port of loopback and forwards each one."""

    def __init__(self, ports: Callable[[], Sequence[int]]) -> None:
        """Call `ports` for every connection: it returns the ports of the ready pods."""
        self._ports = ports
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL of web for clients."""
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen on a port, 0 selects a free one; raises OSError."""
        self._server = await asyncio.start_server(self._accept, LOOPBACK, port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end open connections."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            pod = await self._connect()
            if pod is None:
                return
            back, forth = pod
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(_forward(reader, forth))
                    both.create_task(_forward(back, writer))
            finally:
                forth.close()
        finally:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to the next pod in turn that accepts the connection; None if none does."""
        ports = self._ports()
        self._turn += 1
        for number in range(len(ports)):
            with suppress(OSError):
                port = ports[(self._turn + number) % len(ports)]
                return await asyncio.open_connection(LOOPBACK, port)
        return None


async def _forward(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
