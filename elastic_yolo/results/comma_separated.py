"""CSV as in RFC 4180: a row for each detection, and one for a picture without any."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import groupby

from elastic_yolo.detection import Detection
from elastic_yolo.results.result import NotResults, Result

COLUMNS = (
    "picture", "image_width", "image_height", "found", "label", "score", "x", "y", "width", "height"
)  # fmt: skip
"""`found` is the number of the picture's detections; x and y are the centre of the box."""


def csv_header() -> str:
    """Return the first line."""
    return _lines([COLUMNS])


def csv_rows(result: Result) -> str:
    """Return the rows of a picture."""
    first = (csv_name(result.picture), *result.size, len(result.detections))
    if not result.detections:
        return _lines([(*first, "", "", "", "", "", "")])
    return _lines([(*first, item.label, item.score, *item.box) for item in result.detections])


def csv_name(picture: str) -> str:
    r"""Return a name as text that every reader takes: a byte that is not UTF-8 as `\udcXX`."""
    return picture.encode("utf-8", "backslashreplace").decode("utf-8")


def read_csv(text: str) -> list[Result]:
    """Return the results of a file whose end may be missing: those of the complete pictures.

    Raises NotResults.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise NotResults(str(error)) from None
    # A number may have lost digits; a name may have line ends.
    is_torn = not text.endswith("\n") or text.count('"') % 2 == 1
    torn = rows.pop() if rows and is_torn else None
    if not rows and csv_header().startswith(text):
        return []
    if not rows or tuple(rows.pop(0)) != COLUMNS:
        raise NotResults(f"the first line is not {','.join(COLUMNS)}")
    for number, row in enumerate(rows, 2):
        if len(row) != len(COLUMNS):
            raise NotResults(f"row {number} is not the result for a picture")
    if torn is not None and not _may_begin(torn):
        raise NotResults(f"row {len(rows) + 2} is not the result for a picture")
    try:
        return list(_results(iter(rows)))
    except ValueError as error:
        raise NotResults(f"a row is not the result for a picture ({error})") from None


def _may_begin(row: list[str]) -> bool:
    """Return whether a row that was cut may be the beginning of a result's."""
    # Of the last field, any part may be missing.
    *whole, last = row
    counts = [*whole, last or "0"][1:4]
    return len(row) <= len(COLUMNS) and all(one.isdecimal() for one in counts)


def _results(rows: Iterator[list[str]]) -> Iterator[Result]:
    for (picture, width, height, found), own in groupby(rows, lambda row: tuple(row[:4])):
        items = list(own)
        size = int(width), int(height)
        if not int(found):
            yield Result(picture, (), size)
            continue
        # A picture that was passed twice has its rows twice.
        for start in range(0, len(items) // int(found) * int(found), int(found)):
            part = items[start : start + int(found)]
            yield Result(picture, tuple(_detection(row) for row in part), size)


def _detection(row: list[str]) -> Detection:
    score, x, y, width, height = map(float, row[5:])
    return Detection(row[4], score, (x, y, width, height))


def _lines(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
