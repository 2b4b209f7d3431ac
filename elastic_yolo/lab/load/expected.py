"""Whether an answer is the right one: the same detections as in the first answer."""

from __future__ import annotations

import json
from typing import Any

from elastic_yolo.picture.agreement import is_same

# Streams and machines may round differently: so much may a score differ, and so many pixels a box.
_SCORE = 0.02
_PIXELS = 2.0


class WrongAnswer(Exception):
    """An answer that is none: the message says what came instead."""


class Expected:
    """The detections of a warm-up answer, under the key `data`."""

    def __init__(self, body: bytes) -> None:
        """Take them from a body; raises WrongAnswer."""
        self.data = detections(body)
        self._fragment = _fragment(body)

    def matches(self, body: bytes) -> bool:
        """Return whether a body has these detections; the uid beside them may be another."""
        # Nearly always the very same bytes, which costs next to nothing to see.
        if self._fragment in body:
            return True
        try:
            return agree(self.data, detections(body))
        except WrongAnswer:
            return False


def detections(body: bytes) -> list[Any]:
    """Return the list [[label, score, [x, y, w, h]], ...] in an answer; raises WrongAnswer."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise WrongAnswer(f"not an answer with detections: {body[:200]!r}")
    data: list[Any] = answer["data"]
    return data


def agree(expected: list[Any], found: list[Any]) -> bool:
    """Return whether two lists of detections are the same, in the same order, but for rounding."""
    return len(expected) == len(found) and all(
        is_same(one, other, px=_PIXELS, score=_SCORE)
        for one, other in zip(expected, found, strict=True)
    )


def _fragment(body: bytes) -> bytes:
    """Return the bytes of a body from the key `data` to the end of its list."""
    text = body.decode()
    start = text.index('"data"')
    value = text.index("[", start)
    _, end = json.JSONDecoder().raw_decode(text, value)
    return text[start:end].encode()
