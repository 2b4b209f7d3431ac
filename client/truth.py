"""The ground truth of the client's pictures, and how much of it a response found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Box = list[float]
"""Centre x, centre y, width, height in pixels."""

MIN_IOU = 0.5


@dataclass(frozen=True)
class Truth:
    """The objects of one picture: label and box."""

    objects: list[tuple[str, Box]]

    def count_found(self, data: list[tuple[str, float, Box]]) -> int:
        """Return how many objects have a detection of the same label with enough overlap.

        A detection counts for one object at most; the best score comes first.
        """
        left = list(self.objects)
        for label, _score, box in data:
            candidates = [item for item in left if item[0] == label]
            best = max(candidates, key=lambda item: iou(item[1], box), default=None)
            if best is not None and iou(best[1], box) >= MIN_IOU:
                left.remove(best)
        return len(self.objects) - len(left)


def read_truth(path: Path) -> dict[str, Truth]:
    """Return the truth by file name; empty if the file does not exist.

    Raises OSError, and ValueError for a file of another form.
    """
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {
            name: Truth([(str(label), _box(box)) for label, box in picture["objects"]])
            for name, picture in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: not of the form in client/images/README.md") from error


def _box(numbers: list[float]) -> Box:
    cx, cy, width, height = map(float, numbers)
    return [cx, cy, width, height]


def iou(a: Box, b: Box) -> float:
    """Return the intersection over union of two centre boxes."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    intersection = max(0.0, width) * max(0.0, height)
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)
