"""The part of the network's input that a saliency map covers: a box and its surroundings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.placement import FILL, Placement

# Sides of the box. Further away, masks change little but add noise: docs/explain.md.
_SIDES = 2.0


@dataclass(frozen=True)
class Window:
    """A rectangle in whole pixels of the network's input, within the picture, never empty."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def around(cls, box: Floats, place: Placement) -> Self:
        """Return the window of a box, x1 y1 x2 y2 in network pixels: twice as wide and as high."""
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * _SIDES
        first, last = (centre - half).tolist(), (centre + half).tolist()
        sides = []
        for at, size, low, high in zip(place.corner, place.inner, first, last, strict=True):
            begin = min(max(at, math.floor(low)), at + size - 1)
            sides.append((begin, max(1, min(at + size, math.ceil(high)) - begin)))
        (x, width), (y, height) = sides
        return cls(x, y, width, height)

    @property
    def corners(self) -> Floats:
        """(1, 4) float32: x1 y1 x2 y2 in network pixels."""
        right, bottom = self.x + self.width, self.y + self.height
        return np.array([[self.x, self.y, right, bottom]], np.float32)

    def hide(self, image: Image, mask: Floats) -> Image:
        """Return a copy of the (h, w, 3) input, faded to grey where the mask is below 1.

        `mask` is (height, width) of the window. Grey is that of a letterbox's margin, in which the
        network was trained to find nothing.
        """
        if mask.shape != (self.height, self.width):
            raise ValueError(f"mask: expected {self.height}x{self.width}, found {mask.shape}")
        hidden = image.copy()
        inner = hidden[self.y : self.y + self.height, self.x : self.x + self.width]
        inner[:] = np.rint(FILL + (inner.astype(np.float32) - FILL) * mask[..., np.newaxis])
        return hidden
