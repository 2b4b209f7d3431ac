"""The answer to a picture: checked, and as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from elastic_yolo.client.errors import BadAnswer
from elastic_yolo.client.reply import Reply, parse_json
from elastic_yolo.detection import Detection

_UID = re.compile(r"[0-9a-f]{32}")
# Above every coordinate. Python parses NaN, Infinity and numbers of 400 digits as JSON.
_LARGEST_NUMBER = 1e9
# An entry of W3C Server Timing: a name, and parameters whose values may be quoted.
_TIMING = re.compile(
    r"""(?:^|,)\s*([\w!#$%&'*+.^`|~-]+)"""
    r"""((?:\s*;\s*\w+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,"\s]*))*)"""
)
_DURATION = re.compile(r";\s*dur\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]{1,9})?)")
_MOST_TIMING = 8192


@dataclass(frozen=True)
class Model:
    """The model that answered; `digest` is `sha256:` and that of its files."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class Answer:
    """The detections in a picture."""

    detections: tuple[Detection, ...]
    """Best score first."""
    model: Model
    uid: str
    """The id of the request in the logs of the services, 32 hex digits."""
    width: int
    """Of the upright picture, in pixels."""
    height: int
    server_timing: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds in each tier and phase, by name: `web`, `preprocess`, `inference`, ..."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """All headers of the response, names in lower case: `ratelimit` says what a limit leaves."""


def read_answer(reply: Reply) -> Answer:
    """Return the answer of a response with status 200; raises BadAnswer."""
    value = parse_json(reply.content)
    if not isinstance(value, dict) or value.get("success") != "true":
        raise BadAnswer("the answer lacks success")
    uid, data = value.get("uid"), value.get("data")
    if not isinstance(uid, str) or not _UID.fullmatch(uid):
        raise BadAnswer("the answer lacks a uid of 32 hex digits")
    if not isinstance(data, list):
        raise BadAnswer("the answer lacks data")
    width, height = _size(value.get("image"))
    return Answer(
        detections=tuple(_detection(entry) for entry in data),
        model=_model(value.get("model")),
        uid=uid,
        width=width,
        height=height,
        server_timing=read_server_timing(reply.headers.get("server-timing", "")),
        headers=reply.headers,
    )


def read_server_timing(value: str) -> dict[str, float]:
    """Return the durations of a Server-Timing header in milliseconds, by name.

    Source: W3C Server Timing. The first entry of a name counts; one without a duration is left out.
    """
    found: dict[str, float] = {}
    for name, parameters in _TIMING.findall(value[:_MOST_TIMING]):
        if duration := _DURATION.search(parameters):
            found.setdefault(name, float(duration[1]))
    return found


def _detection(entry: Any) -> Detection:
    match entry:
        case [str(label), float() | int() as score, [x, y, w, h]] if 0 <= score <= 1:
            box = (x, y, w, h)
            if all(_is_length(number) for number in box):
                return Detection(label, float(score), box)
    raise BadAnswer(f"an entry is not [label, score, [cx, cy, w, h]]: {ascii(entry)[:200]}")


def _is_length(number: Any) -> bool:
    return isinstance(number, float | int) and abs(number) <= _LARGEST_NUMBER


def _model(value: Any) -> Model:
    match value:
        case {"name": str(name), "version": str(version), "digest": str(digest)}:
            return Model(name, version, digest)
    raise BadAnswer("the answer lacks a model with name, version and digest")


def _size(value: Any) -> tuple[int, int]:
    match value:
        case {"width": int(width), "height": int(height)} if min(width, height) > 0:
            if max(width, height) <= _LARGEST_NUMBER:
                return width, height
    raise BadAnswer("the answer lacks the size of the picture")
