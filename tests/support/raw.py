"""Requests that no client library sends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from elastic_yolo.lab.processes.stack import LOOPBACK, Service

_PATIENCE_S = 60


@dataclass(frozen=True)
class RawResponse:
    """A response as it arrived."""

    status: int
    headers: dict[str, str]
    """By lower-case names."""
    body: bytes

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)

    @property
    def detail(self) -> str:
        """The message of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        return str(self.json()["detail"])


class RawConnection:
    """A connection to a service, which sends bytes as they are."""

    def __init__(self, connection: socket.socket) -> None:
        """Take an open connection."""
        self._socket = connection
        self._received = b""

    def send(self, *pieces: bytes) -> None:
        """Send bytes, each piece in a packet of its own."""
        for piece in pieces:
            self._socket.sendall(piece)

    def read_response(self, *, to_head: bool = False) -> RawResponse:
        """Read one response with Content-Length; one to HEAD has no body."""
        head, _, self._received = self._read_until_head().partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        size = 0 if to_head else int(headers.get("content-length", 0))
        while len(self._received) < size:
            self._receive()
        body, self._received = self._received[:size], self._received[size:]
        return RawResponse(int(status.split(" ")[1]), headers, body)

    def read_to_the_end(self) -> bytes:
        """Return what arrives until the service ends the connection; it may be reset."""
        try:
            while piece := self._socket.recv(65536):
                self._received += piece
        except ConnectionError:
            pass
        return self._received

    def _read_until_head(self) -> bytes:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        return self._received

    def _receive(self) -> None:
        piece = self._socket.recv(65536)
        assert piece, f"the connection ended behind {self._received[:200]!r}"
        self._received += piece


@contextmanager
def connected(service: Service) -> Iterator[RawConnection]:
    """Open a connection."""
    with socket.create_connection((LOOPBACK, service.port), timeout=_PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield RawConnection(connection)


def exchange(service: Service, *pieces: bytes) -> RawResponse:
    """Send a request over a connection of its own and return the response."""
    with connected(service) as connection:
        connection.send(*pieces)
        return connection.read_response()


def request(
    target: str,
    headers: Sequence[bytes | str] = (),
    body: bytes | None = None,
    *,
    method: str = "POST",
) -> bytes:
    """Return a request; with a body, Content-Length is stated."""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: x"]
    lines += [one if isinstance(one, bytes) else one.encode() for one in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + (body or b"")


def chunked(
    target: str, headers: Sequence[bytes | str], body: bytes, chunk_bytes: int, end: bytes = b""
) -> bytes:
    """Return a request whose body comes in chunks; `end` are lines behind the last chunk."""
    head = request(target, [*headers, "Transfer-Encoding: chunked"])
    pieces = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join([head, *chunks, b"0\r\n", end, b"\r\n"])


def status_without_body(service: Service, path: str, announced: int, head: str = "") -> int:
    """Send a head that announces a body, and return the status that arrives without the body."""
    headers = [f"Content-Length: {announced}", *head.split("\r\n")[:-1]]
    return exchange(service, request(path, headers)).status
