"""Random masks that hide parts of a network's input.

Source: Petsiuk et al., "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018, section 3.2, and "Black-box Explanation of Object Detectors via Saliency Maps" (D-RISE),
CVPR 2021, section 3.3: a coarse grid of zeros and ones, upsampled bilinearly and shifted at random.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.placement import FILL, Placement

# What the network sees of a hidden place: the grey of a letterbox's margin, in which it was trained
# to find nothing.
_HIDDEN = FILL
# Chosen with `make bench-explain`: docs/explain.md.
_CELLS_OF_BOX = 4
_LEAST_CELL = 4
_VISIBLE = 0.5


@dataclass(frozen=True)
class Masks:
    """Random masks of one size, numbered from 0; each number gives the same mask every time."""

    size: tuple[int, int]
    """(width, height) in pixels."""
    cell: int
    """Side of a grid cell in pixels."""
    visible: float
    """Probability with which a cell stays visible."""
    seed: int

    @classmethod
    def around(cls, box: Floats, size: tuple[int, int], seed: int) -> Self:
        """Return masks of (width, height) for a detection: the smaller its box, the smaller cells.

        `box` is x1 y1 x2 y2 in pixels of the same scale. D-RISE has 16 cells along each side of a
        picture, whatever the object: a small one would lie in a single cell.
        """
        width, height = (box[2:] - box[:2]).tolist()
        side = math.sqrt(max(0.0, width * height)) / _CELLS_OF_BOX
        return cls(size, max(_LEAST_CELL, min(round(side), max(size))), _VISIBLE, seed)

    def draw(self, number: int) -> Floats:
        """Return (height, width) float32 from 0 (hidden) to 1 (visible)."""
        random = np.random.default_rng((self.seed, number))
        width, height = self.size
        columns, rows = math.ceil(width / self.cell) + 1, math.ceil(height / self.cell) + 1
        grid = (random.random((rows, columns)) < self.visible).astype(np.float32)
        x, y = random.integers(self.cell, size=2).tolist()
        large = cv2.resize(
            grid, (columns * self.cell, rows * self.cell), interpolation=cv2.INTER_LINEAR
        )
        return np.ascontiguousarray(large[y : y + height, x : x + width], np.float32)


def hide(image: Image, place: Placement, mask: Floats) -> Image:
    """Return the (h, w, 3) input with the picture in it faded to grey where the mask is 0.

    `mask` has the size of `place.inner`. The margin of a letterbox stays as it is.
    """
    (x, y), (width, height) = place.corner, place.inner
    if mask.shape != (height, width):
        raise ValueError(f"mask: expected {height}x{width}, found {mask.shape}")
    hidden = image.copy()
    inner = hidden[y : y + height, x : x + width]
    inner[:] = np.rint(_HIDDEN + (inner.astype(np.float32) - _HIDDEN) * mask[..., np.newaxis])
    return hidden
