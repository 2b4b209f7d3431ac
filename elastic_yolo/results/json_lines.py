"""JSON lines: an object for each picture."""

from __future__ import annotations

import json
import re
from typing import Any

from elastic_yolo.detection import Detection
from elastic_yolo.results.result import NotResults, Result

_START, _AFTER = '{"picture": "', '", "data": ['
# A name in JSON, which may be cut, also within an escape.
_HEAD = re.compile(re.escape(_START) + r'(?:[^"\\]|\\.)*\\?')
_KEYS = frozenset({"picture", "data", "image", "model", "uid"})


def json_line(result: Result) -> str:
    """Return a line of ASCII, with its line end.

    Boxes are centre x, centre y, width and height in pixels of the upright picture. A byte of a
    name that is not UTF-8 is a lone surrogate, as in Python's own names.
    """
    width, height = result.size
    value: dict[str, Any] = {
        "picture": result.picture,
        "data": [[item.label, item.score, list(item.box)] for item in result.detections],
        "image": {"width": width, "height": height},
    }
    if result.model is not None:
        value["model"] = result.model
    if result.uid is not None:
        value["uid"] = result.uid
    return json.dumps(value) + "\n"


def read_json_lines(text: str) -> list[Result]:
    """Return the results of a file; the beginning of a line at its end is left out.

    Raises NotResults for anything else than results: it would be lost when the file is written.
    """
    *lines, rest = text.split("\n")
    results = [_result(number, line) for number, line in enumerate(lines, 1)]
    if not _may_begin(rest):
        raise NotResults(f"line {len(lines) + 1} is not the result for a picture")
    return results


def _may_begin(text: str) -> bool:
    """Return whether a text may be the beginning of a line."""
    if (head := _HEAD.match(text)) is None:
        return _START.startswith(text)
    after = text[head.end() :]
    return after.startswith(_AFTER) or _AFTER.startswith(after)


def _result(number: int, line: str) -> Result:
    try:
        value = json.loads(line)
        found = tuple(
            Detection(label, score, (x, y, w, h)) for label, score, [x, y, w, h] in value["data"]
        )
        image = value["image"]
        size = image["width"], image["height"]
        picture = value["picture"]
        result = Result(picture, found, size, value.get("model"), value.get("uid"))
        # Anything else that the line has would be lost.
        picture = picture if len(image) == 2 and _KEYS.issuperset(value) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        picture = None
    if not isinstance(picture, str):
        raise NotResults(f"line {number} is not the result for a picture")
    return result
