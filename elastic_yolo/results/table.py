"""A table for people: a line for each picture, and an indented one for each detection."""

from __future__ import annotations

from elastic_yolo.printable import escape_unprintable
from elastic_yolo.results.result import Result


def table_rows(result: Result) -> str:
    """Return the lines of a picture: label, score, centre x, centre y, width and height.

    Names and labels cannot forge lines or colours.
    """
    lines = [f"{escape_unprintable(result.picture)}: {len(result.detections)} found"]
    for item in result.detections:
        x, y, width, height = item.box
        label = escape_unprintable(item.label)
        lines.append(
            f"  {label:<16} {item.score:.3f}  {x:9.2f} {y:9.2f} {width:9.2f} {height:9.2f}"
        )
    return "".join(f"{line}\n" for line in lines)
