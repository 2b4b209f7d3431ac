"""Plain data that travels through the detector.

Arrays of detections are (n, 6) float32: x1 y1 x2 y2 score class, corners in pixels, best first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Image = Pixels | Floats
"""Pixels from 0 to 255: whole numbers, or fractions where nothing was rounded."""

COLUMNS = 6
SCORE = 4
CLASS = 5


@dataclass(frozen=True)
class Detection:
    """One object: label, score, and (centre x, centre y, width, height) in picture pixels."""

    label: str
    score: float
    box: tuple[float, float, float, float]


def name_detections(found: Floats, labels: tuple[str, ...]) -> list[Detection]:
    """Turn (k, 6) corner rows into labelled detections with centre boxes."""
    return [
        Detection(
            labels[int(row[CLASS])],
            round(float(row[SCORE]), 6),
            centre_box(*(float(value) for value in row[:4])),
        )
        for row in found
    ]


def centre_box(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float, float, float]:
    """Return (centre x, centre y, width, height), rounded to a hundredth of a pixel."""
    box = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1)
    return tuple(round(value, 2) for value in box)  # type: ignore[return-value]  # four of them
