"""Random masks.

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

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.saliency.window import Window

# D-RISE has 16 cells along each side of a picture, whatever the object: a small one would lie in
# one or two of them.
_CELLS_OF_WINDOW = 8
_LEAST_CELL = 2
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
    def of(cls, window: Window, seed: int) -> Self:
        """Return masks for a window, which has about eight cells along each side."""
        side = math.sqrt(window.width * window.height) / _CELLS_OF_WINDOW
        return cls((window.width, window.height), max(_LEAST_CELL, round(side)), _VISIBLE, seed)

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
