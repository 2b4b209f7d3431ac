"""The part of HTTP/1.1 that a load client needs, at little CPU cost.

One request as bytes, and a parser of responses that state their Content-Length: RFC 9112.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from elastic_yolo.lab.load.open_inference import HEADER_LENGTH, encode_picture
from elastic_yolo.printable import body_text

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_STATUS = slice(9, 12)


class UnsupportedResponse(Exception):
    """A response in a form that this client does not parse; the message has its head."""


@dataclass(frozen=True)
class Target:
    """Where a request is sent, and with which headers."""

    url: str
    content_type: str = "image/jpeg"
    timeout_ms: int | None = None
    """Sent as X-Timeout-Ms."""
    method: str = "POST"
    tensor_parameters: dict[str, float] | None = None
    """Of a request of the Open Inference Protocol, which has the body as a picture's tensor."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port; raises ValueError if the URL lacks one of them."""
        parts = urlsplit(self.url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{self.url}: expected http://HOST:PORT/PATH")
        return parts.hostname, parts.port

    def request(self, body: bytes) -> bytes:
        """Return the whole request, head and body, ready to be sent any number of times."""
        parts = urlsplit(self.url)
        extra: list[str] = []
        if self.tensor_parameters is not None:
            body, length = encode_picture(body, self.tensor_parameters)
            extra.append(f"{HEADER_LENGTH}: {length}")
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        lines = [
            f"{self.method} {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
            *extra,
        ]
        if self.timeout_ms is not None:
            lines.append(f"X-Timeout-Ms: {self.timeout_ms}")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Response(NamedTuple):
    """A parsed response. `retry_after_s` is None without that header."""

    status: int
    body: bytes
    retry_after_s: int | None
    closes: bool
    """Whether the server closes the connection after it."""


class ResponseReader:
    """Parses the responses of one connection from the bytes that arrive."""

    def __init__(self) -> None:
        """Expect a status line."""
        self._buffer = bytearray()
        self._end = 0
        self._head = b""

    def feed(self, data: bytes) -> Response | None:
        """Add bytes and return the response that they complete, if any.

        Raises UnsupportedResponse.
        """
        self._buffer += data
        if not self._end and not self._read_head():
            return None
        if len(self._buffer) < self._end:
            return None
        body = bytes(self._buffer[len(self._head) : self._end])
        head = self._head
        del self._buffer[: self._end]
        self._end, self._head = 0, b""
        later = _RETRY_AFTER.search(head) if head[_STATUS] in (b"429", b"503") else None
        return Response(
            int(head[_STATUS]),
            body,
            int(later[1]) if later else None,
            _CLOSE.search(head) is not None,
        )

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        head = bytes(self._buffer[: end + len(_HEAD_END)])
        length = _LENGTH.search(head)
        if length is None:
            raise UnsupportedResponse(f"a response without Content-Length: {body_text(head)}")
        self._head = head
        self._end = len(head) + int(length[1])
        return True
