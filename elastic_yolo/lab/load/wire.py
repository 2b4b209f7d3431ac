"""As much of HTTP/1.1 as a load client needs: one request, and answers read with little work."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_STATUS = slice(9, 12)


class NotUnderstood(Exception):
    """An answer in a form that this client does not read; the message says which."""


@dataclass(frozen=True)
class Target:
    """Where a picture is sent, and how."""

    url: str
    content_type: str = "image/jpeg"
    timeout_ms: int | None = None
    """Sent as X-Timeout-Ms."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{self.url} names no host and port")
        return parts.hostname, parts.port

    def request(self, body: bytes) -> bytes:
        """Return the whole request as it goes over the wire, again and again."""
        parts = urlsplit(self.url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(body)}",
        ]
        if self.timeout_ms is not None:
            lines.append(f"X-Timeout-Ms: {self.timeout_ms}")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Answer(NamedTuple):
    """What came back. `retry_after_s` is None without that header."""

    status: int
    body: bytes
    retry_after_s: int | None
    closes: bool


class AnswerReader:
    """Puts one answer after the other together from what arrives."""

    def __init__(self) -> None:
        """Begin in front of a status line."""
        self._buffer = bytearray()
        self._end = 0
        self._head = b""

    def feed(self, data: bytes) -> Answer | None:
        """Take what has arrived and return the answer, if that was the end of one.

        Raises NotUnderstood.
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
        again = _RETRY_AFTER.search(head) if head[_STATUS] in (b"429", b"503") else None
        return Answer(
            int(head[_STATUS]),
            body,
            int(again[1]) if again else None,
            _CLOSE.search(head) is not None,
        )

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        head = bytes(self._buffer[: end + len(_HEAD_END)])
        length = _LENGTH.search(head)
        if length is None:
            raise NotUnderstood(f"an answer without Content-Length: {head[:200]!r}")
        self._head = head
        self._end = len(head) + int(length[1])
        return True
