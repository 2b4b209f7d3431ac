"""JSON lines: an object for each picture."""

from __future__ import annotations

import json
from typing import Any

from elastic_yolo.detection import Detection
from elastic_yolo.results.result import NotResults, Result


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
    """Return the results of a file; a last line without its end is left out.

    Raises NotResults.
    """
    return [_result(number, line) for number, line in enumerate(text.split("\n")[:-1], 1)]


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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        picture = None
    if not isinstance(picture, str):
        raise NotResults(f"line {number} is not the result for a picture")
    return result
