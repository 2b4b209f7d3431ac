"""The saliency map as a sum over masks and their weights."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats

# Of the longer side. A map is smooth: its masks have eight cells along a side.
_MOST_CELLS = 16
# Pixels for each of them, so that every cell averages the same number.
_FINE = 16


class SaliencySum:
    """Adds up masks with their weights; the order does not matter.

    D-RISE averages the weight of the masks in which a pixel is visible. We subtract the average of
    those in which it is hidden, so that the value of a place is the weight that it adds.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        """Start without masks; `size` is (width, height) in pixels."""
        width, height = size
        self._masks: NDArray[np.float64] = np.zeros((height, width))
        self._weighted: NDArray[np.float64] = np.zeros((height, width))
        self._weights = 0.0
        self.count = 0

    def add(self, mask: Floats, weight: float) -> None:
        """Add a mask, (height, width) from 0 to 1, with the weight of its prediction."""
        self._masks += mask
        self._weighted += mask * np.float64(weight)
        self._weights += weight
        self.count += 1

    def to_map(self) -> Floats:
        """Return (height, width) float32 from -1 to 1: mean weight while visible less while hidden.

        A place that was always visible, or always hidden, has 0.
        """
        hidden = self.count - self._masks
        known = (self._masks > 0) & (hidden > 0)
        zeros = np.zeros_like(self._masks)
        seen = np.divide(self._weighted, self._masks, out=zeros.copy(), where=known)
        unseen = np.divide(self._weights - self._weighted, hidden, out=zeros, where=known)
        return (seen - unseen).astype(np.float32)


def to_grid(saliency: Floats) -> Floats:
    """Return a (height, width) map averaged over cells, 16 of them along the longer side."""
    height, width = saliency.shape
    scale = _MOST_CELLS / max(width, height)
    columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
    fine = cv2.resize(saliency, (columns * _FINE, rows * _FINE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(fine, (columns, rows), interpolation=cv2.INTER_AREA), np.float32)
