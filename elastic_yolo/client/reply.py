"""A response as bytes, with a limit on its size, and the error that it stands for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elastic_yolo.backoff import parse_retry_after
from elastic_yolo.client.errors import BY_STATUS, BadAnswer, Busy, ClientError, Problem
from elastic_yolo.printable import escape_unprintable

# Ten times the answer with the most detections that NMS lets pass.
MOST_JSON_BYTES = 8 * 2**20
# A PNG of noise with 64 megapixels, the most that the services accept by default.
MOST_PICTURE_BYTES = 192 * 2**20
_MOST_SHOWN = 500
OK, NOT_FOUND = 200, 404


@dataclass(frozen=True)
class Reply:
    """A complete response; the names of its headers are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes


class Body:
    """The content of a response as it arrives, with limits that no server can exceed."""

    def __init__(self, most_bytes: int, until: float) -> None:
        """Accept `most_bytes` in total, until a moment of time.monotonic()."""
        self._most_bytes = most_bytes
        self._until = until
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, piece: bytes) -> None:
        """Keep a piece; raises BadAnswer if they are too many, TimeoutError if it is too late."""
        self._size += len(piece)
        if self._size > self._most_bytes:
            raise BadAnswer(f"the answer has more than {self._most_bytes:,} bytes")
        if time.monotonic() > self._until:
            raise TimeoutError
        self._pieces.append(piece)

    def content(self) -> bytes:
        """Return all pieces."""
        return b"".join(self._pieces)


def parse_json(content: bytes) -> Any:
    """Return the parsed content; raises BadAnswer."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise BadAnswer("the answer is not JSON") from None


def asked_s(reply: Reply) -> float | None:
    """Return how many seconds a response asks to wait, if it does."""
    return parse_retry_after(reply.headers.get("retry-after"))


def problem_of(reply: Reply) -> ClientError:
    """Return the error of a response that is not 200."""
    kind = BY_STATUS.get(reply.status, Problem)
    document = _document(reply)
    if document is None:
        if reply.status < 500 and kind is not Busy:
            return BadAnswer(
                f"status {reply.status} without a problem document: expected the address of web"
            )
        return kind(reply.status, _line(reply.reason), "", "", asked_s(reply))
    if reply.status == NOT_FOUND and document.get("detail") == document.get("title"):
        # A service of ours without this route has nothing to say about the model.
        return BadAnswer(
            "status 404: what answered is not web, but another service of elastic-yolo: expected "
            "the address of web"
        )
    title, detail, uid = (_line(document.get(name, "")) for name in ("title", "detail", "uid"))
    return kind(reply.status, title, detail, uid, asked_s(reply))


def _document(reply: Reply) -> dict[str, Any] | None:
    if not reply.headers.get("content-type", "").startswith("application/problem+json"):
        return None
    try:
        document = parse_json(reply.content)
    except BadAnswer:
        return None
    return document if isinstance(document, dict) else None


def _line(value: object) -> str:
    """Return text of a stranger as one line of limited length."""
    return escape_unprintable(str(value)[:_MOST_SHOWN])
