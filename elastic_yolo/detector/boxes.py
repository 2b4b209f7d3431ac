"""Array types, the form of a network's input, and detections: what the detector's modules share.

`Detection` comes from a module that needs no numpy, as the client has none.

Arrays of detections are (n, 6) float32: x1 y1 x2 y2 score class, corners in pixels, best score
first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detection import Detection as Detection  # noqa: PLC0414  # see the docstring
from elastic_yolo.names import Resize

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Image = Pixels | Floats
"""Pixels from 0 to 255: uint8, or float32 if resampling did not round."""

COLUMNS = 6
SCORE = 4
CLASS = 5


@dataclass(frozen=True)
class InputFormat:
    """What a network requires of its pictures: size, (width, height) in pixels, and resize rule."""

    size: tuple[int, int]
    resize: Resize

    def __str__(self) -> str:
        """Return the form for messages: 416x416 letterbox."""
        width, height = self.size
        return f"{width}x{height} {self.resize}"

    def accepts(self, size: tuple[int, int], resize: Resize | None) -> bool:
        """Return whether the network takes a prepared picture; None is an unknown rule."""
        return size == self.size and resize in (None, self.resize)


def name_detections(found: Floats, labels: Sequence[str] | Mapping[int, str]) -> list[Detection]:
    """Turn (k, 6) corner rows into labelled detections with centre boxes.

    `labels` maps class indices to names. Raises LookupError for a class that it lacks.
    """
    scores = np.round(found[:, SCORE].astype(np.float64), 6).tolist()
    classes = found[:, CLASS].astype(int).tolist()
    return [
        Detection(labels[number], score, box)
        for number, score, box in zip(classes, scores, centre_boxes(found), strict=True)
    ]


def centre_boxes(found: Floats) -> list[tuple[float, float, float, float]]:
    """Return (centre x, centre y, width, height) of corner rows, rounded to hundredths of a pixel.

    Computes in float64, which prints the rounded value without further digits.
    """
    first, second = found[:, :2].astype(np.float64), found[:, 2:4].astype(np.float64)
    boxes = np.hstack([(first + second) / 2, second - first])
    return [(x, y, width, height) for x, y, width, height in np.round(boxes, 2).tolist()]
