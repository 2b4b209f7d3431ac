"""Callers that send without end what a service must not keep, over many connections at once."""

from __future__ import annotations

import gzip
import pickle
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, Service

_PIECE_BYTES = 256 * 1024
# Pillow's Image.new("RGB", (8000, 8000), (90, 120, 60)) as lossless WebP.
_WEBP_OF_64_MEGAPIXELS = bytes.fromhex(
    "524946461e000000574542505650384c110000002f3fdfcf070750bc6a95a7ff8188e87f0000"
)


@dataclass(frozen=True)
class Attack:
    """What each connection sends: `begin` once, then `filler` until the service ends it."""

    name: str
    begin: bytes
    filler: bytes
    reads: bool = True
    """Whether responses are read."""
    decodes: bool = False
    """Whether each request makes preprocess decode a picture, for which it may take memory."""


def attacks(path: str) -> list[Attack]:
    """Return an attack of each kind on the route `POST path`, which takes bodies."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode()
    picture = head + b"Content-Type: image/jpeg\r\n"
    chunked = picture + b"Transfer-Encoding: chunked\r\n\r\n"
    form = head + b"Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: 19000000\r\n"
    part = b'--XX\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    get = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    return [
        Attack("head of many headers", get, _repeat(b"a:b\r\n")),
        Attack("head with one long header", get + b"x: ", _repeat(b"a")),
        Attack("empty lines", b"", _repeat(b"\r\n")),
        Attack("body in chunks", chunked, _chunk(b"\0" * 65536)),
        Attack("body in chunks of one byte", chunked, _repeat(b"1\r\na\r\n")),
        Attack(
            "body of stated length", picture + b"Content-Length: 19000000\r\n\r\n", _repeat(b"a")
        ),
        Attack(
            "body that stalls", picture + b"Content-Length: 19000000\r\n\r\n" + bytes(10**6), b""
        ),
        Attack("compressed body", _compressed(picture), b""),
        Attack(
            "compressed body of empty members",
            picture + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
            _chunk(gzip.compress(b"", mtime=0) * 3000),
        ),
        Attack("form with a long field", form + b"\r\n" + part, _repeat(b"a")),
        Attack("form with many fields", form + b"\r\n" + part, _repeat(b"\r\n" + part)),
        Attack("form with a long head", form + b"\r\n--XX\r\n", _repeat(b"x: y\r\n")),
        Attack("trailers", chunked + b"1\r\na\r\n0\r\n", _repeat(b"x: y\r\n")),
        Attack("trailer with a long value", chunked + b"1\r\na\r\n0\r\nx: ", _repeat(b"a")),
        Attack("chunk extension", chunked + b"1;", _repeat(b"a")),
        Attack("chunk extensions", chunked, _repeat(b"1;" + b"a" * 1000 + b"\r\na\r\n")),
        Attack("requests in one piece", b"", _repeat(get + b"\r\n")),
        Attack(
            "responses that are not read",
            b"",
            _repeat(b"GET /openapi.json HTTP/1.1\r\n\r\n"),
            False,
        ),
        Attack("status", b"", _repeat(b"GET /health/status HTTP/1.1\r\nHost: x\r\n\r\n")),
        Attack(
            "large pictures",
            b"",
            _repeat(
                picture
                + b"Content-Length: %d\r\n\r\n" % len(_WEBP_OF_64_MEGAPIXELS)
                + _WEBP_OF_64_MEGAPIXELS
            ),
            decodes=True,
        ),
    ]


def _repeat(unit: bytes) -> bytes:
    return unit * (_PIECE_BYTES // len(unit))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) * (_PIECE_BYTES // len(data))


def _compressed(head: bytes) -> bytes:
    """Return a request of 20 KB whose body is 19 MB."""
    bomb = gzip.compress(bytes(19_000_000))
    return head + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb


@contextmanager
def attacking(service: Service, attack: Attack, connections: int = 100) -> Iterator[None]:
    """Attack a service during the block, from another process: it must not slow down the test."""
    arguments = [str(service.port), str(connections)]
    program = [sys.executable, "-m", __name__, *arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(attack))
        process.stdin.close()
        try:
            yield
            assert process.poll() is None, "the attackers have ended"
        finally:
            process.kill()


class _Attackers:
    """Many connections to a port; one that the service ends is opened again."""

    def __init__(self, port: int, attack: Attack) -> None:
        self._port = port
        self._attack = attack
        self._rest: dict[socket.socket, memoryview] = {}

    def run(self, connections: int) -> None:
        """Attack until the process is killed."""
        with selectors.DefaultSelector() as selector:
            for _ in range(connections):
                self._open(selector)
            while True:
                for key, events in selector.select():
                    connection = key.fileobj
                    assert isinstance(connection, socket.socket)
                    if not self._serve(selector, connection, events):
                        self._close(selector, connection)
                        self._open(selector)

    def _open(self, selector: selectors.BaseSelector) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex((LOOPBACK, self._port))
        self._rest[connection] = memoryview(self._attack.begin or self._attack.filler)
        events = selectors.EVENT_WRITE | (selectors.EVENT_READ if self._attack.reads else 0)
        selector.register(connection, events)

    def _close(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        selector.unregister(connection)
        del self._rest[connection]
        connection.close()

    def _serve(
        self, selector: selectors.BaseSelector, connection: socket.socket, events: int
    ) -> bool:
        """Read and write what is possible; whether the connection goes on."""
        try:
            if events & selectors.EVENT_READ and not connection.recv(65536):
                return False
            if events & selectors.EVENT_WRITE:
                self._send(selector, connection)
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _send(self, selector: selectors.BaseSelector, connection: socket.socket) -> None:
        rest = self._rest[connection]
        sent = connection.send(rest)
        self._rest[connection] = rest[sent:] or memoryview(self._attack.filler)
        if not self._rest[connection]:
            # Only waits from now on.
            selector.modify(connection, selectors.EVENT_READ)


if __name__ == "__main__":
    _Attackers(int(sys.argv[1]), pickle.load(sys.stdin.buffer)).run(  # noqa: S301  # from this module
        int(sys.argv[2])
    )
