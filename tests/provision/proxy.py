"""A proxy on loopback that records requests and can cut responses."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer

_REQUEST = re.compile(rb"(GET|HEAD|POST) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n", re.DOTALL)
_RANGE = re.compile(rb"^range: (.*?)\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass
class Proxy:
    """A proxy in front of the port `target`."""

    target: int
    cuts: int = 0
    """Number of connections to cut."""
    cut_after: int = 100_000
    """Bytes after which a connection is cut."""
    sent: int = 0
    """Bytes received from the target, including headers."""
    port: int = 0
    connections: list[bytearray] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Base URL of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def heads(self) -> str:
        """All requests as text."""
        return b"".join(self.connections).decode("latin-1")

    @property
    def asked(self) -> list[str]:
        """The requested paths."""
        return [
            found[2].decode() for one in self.connections for found in _REQUEST.finditer(bytes(one))
        ]

    @property
    def ranges(self) -> list[str]:
        """The requested ranges."""
        return [
            found[1].decode() for one in self.connections for found in _RANGE.finditer(bytes(one))
        ]

    def forget(self) -> None:
        """Reset all records."""
        self.connections.clear()
        self.sent = 0


class _Handler(BaseRequestHandler):
    proxy: Proxy

    def handle(self) -> None:
        asked = bytearray()
        self.proxy.connections.append(asked)
        near: socket.socket = self.request
        with socket.create_connection(("127.0.0.1", self.proxy.target)) as far:
            asking = threading.Thread(target=self._hand_on, args=(near, far, asked))
            asking.start()
            with suppress(OSError):
                self._answer(near, far)
            for end in (near, far):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            asking.join()

    def _hand_on(self, near: socket.socket, far: socket.socket, asked: bytearray) -> None:
        with suppress(OSError):
            while piece := near.recv(65536):
                asked += piece
                far.sendall(piece)
            far.shutdown(socket.SHUT_WR)

    def _answer(self, near: socket.socket, far: socket.socket) -> None:
        came = 0
        while piece := far.recv(65536):
            left = self.proxy.cut_after - came
            if self.proxy.cuts > 0 and len(piece) > left:
                self.proxy.cuts -= 1
                near.sendall(piece[:left])
                self.proxy.sent += left
                return
            near.sendall(piece)
            came += len(piece)
            self.proxy.sent += len(piece)


class _Server(ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def before(target: int) -> Iterator[Proxy]:
    """Run a proxy in front of a port until the block ends."""
    proxy = Proxy(target)
    handler = type("Handler", (_Handler,), {"proxy": proxy})
    with _Server(("127.0.0.1", 0), handler) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
