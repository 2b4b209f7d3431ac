"""Checks responses: each must have the same detections as the first one."""

from __future__ import annotations

import json
from typing import Any

from elastic_yolo.lab.load.open_inference import read_detections
from elastic_yolo.picture.agreement import is_same
from elastic_yolo.printable import body_text

# Streams and machines round differently: the tolerances of a score and of a box, in pixels.
_SCORE = 0.02
_PIXELS = 2.0


class WrongResponse(Exception):
    """A response without detections; the message has its beginning."""


class Expected:
    """The detections of a first response; its first key `data` holds them."""

    def __init__(self, body: bytes) -> None:
        """Parse a body; raises WrongResponse."""
        self.data = detections(body)
        self._fragment = _fragment(body)

    def matches(self, body: bytes) -> bool:
        """Return whether a body has the same detections; its uid may differ."""
        # Nearly always the bytes are the same, and comparing them is cheap.
        if self._fragment in body:
            return True
        try:
            return agree(self.data, detections(body))
        except WrongResponse:
            return False


def detections(body: bytes) -> list[Any]:
    """Return [[label, score, [x, y, w, h]], ...] of a response; raises WrongResponse.

    That is web's response, or one of the Open Inference Protocol.
    """
    try:
        parsed = json.loads(body)
        found = read_detections(parsed) if "outputs" in parsed else parsed["data"]
    except (ValueError, LookupError, TypeError):
        found = None
    if not isinstance(found, list):
        raise WrongResponse(f"a response without detections: {body_text(body)}")
    return found


def agree(expected: list[Any], found: list[Any]) -> bool:
    """Return whether two lists have the same detections in the same order, within rounding."""
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
