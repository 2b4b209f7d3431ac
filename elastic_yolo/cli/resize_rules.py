"""What a model detects in one picture by each resize rule, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.detector import Detector
from elastic_yolo.names import RESIZES, Resize

# A low threshold makes thousands of detections.
_MOST_ROWS = 10
_WIDTH = 46


@dataclass(frozen=True)
class BothRules:
    """The detections in a picture by each rule, best score first."""

    picture: str
    found: dict[Resize, list[Detection]]


def detect_by_both_rules(detector: Detector, picture: str, data: bytes) -> BothRules:
    """Detect in the bytes of a picture file by each rule; raises PictureError."""
    found = {
        resize: Detector(replace(detector.model, resize=resize), detector.engine).detect(data)
        for resize in RESIZES
    }
    return BothRules(picture, found)


def side_by_side(both: BothRules) -> Iterator[str]:
    """Yield the lines of a table: one column for each rule, the best detections first."""
    yield f"{both.picture} (label, score, centre x and y, width x height in pixels)"
    yield _line([*both.found])
    columns = [[_describe(one) for one in found] for found in both.found.values()]
    for number, row in enumerate(zip_longest(*columns, fillvalue="")):
        if number == _MOST_ROWS:
            more = [max(0, len(column) - number) for column in columns]
            yield _line([f"and {count:,} more" for count in more])
            return
        yield _line(row)


def to_json(both: BothRules) -> dict[str, object]:
    """Return a JSON object with the detections by rule, in the form of web's responses."""
    lists: dict[str, object] = {
        resize: [[one.label, one.score, list(one.box)] for one in found]
        for resize, found in both.found.items()
    }
    return {"picture": both.picture, **lists}


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "".join(cell.ljust(_WIDTH) for cell in cells).rstrip()


def _describe(one: Detection) -> str:
    x, y, width, height = one.box
    return f"{one.label[:16]:<16} {one.score:.2f}  {x:.0f} {y:.0f} {width:.0f}x{height:.0f}"
