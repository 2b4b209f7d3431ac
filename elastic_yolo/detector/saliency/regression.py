"""The saliency map that explains the weights of all masks best.

D-RISE averages masks by their weights. Each average has the noise of all other places that the
same masks hide. So we fit a linear model instead, weight = constant + sum of value x visible part
over the cells of a grid, in which neighbouring cells are expected to have similar values:
Gaussian process regression, Rasmussen and Williams, "Gaussian Processes for Machine Learning",
2006, section 2.1. docs/explain.md compares both.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.saliency.masks import Masks

# Cells of the map along a cell of the masks, whose shifts show more than their grid does.
_FINER = 2
# Distance, in cells of the map, over which values are alike.
_LENGTH = 1.0
# Variance of the noise as a part of that which the values cause.
_NOISE = 0.3

_Doubles = NDArray[np.float64]


class SaliencyRegression:
    """Collects masks with their weights; their order does not matter."""

    def __init__(self, masks: Masks) -> None:
        """Start without masks; all will be of these."""
        step = masks.cell / _FINER
        self._size = masks.size
        self.columns, self.rows = (max(1, round(side / step)) for side in masks.size)
        self._visible: list[Floats] = []
        self._weights: list[float] = []

    @property
    def count(self) -> int:
        """How many masks were added."""
        return len(self._weights)

    def add(self, mask: Floats, weight: float) -> None:
        """Add a mask, (height, width) from 0 to 1, with the weight of its prediction."""
        grid = cv2.resize(mask, (self.columns, self.rows), interpolation=cv2.INTER_AREA)
        self._visible.append(np.asarray(grid, np.float32).ravel())
        self._weights.append(weight)

    def to_grid(self) -> Floats:
        """Return (rows, columns) float32: the weight that each cell adds when it is visible."""
        visible = np.array(self._visible, np.float64)
        visible -= visible.mean(axis=0)
        weights = np.array(self._weights)
        weights -= weights.mean()
        prior = self._prior()
        # Of the masks, (cells, cells); the same result as with a matrix of (masks, masks).
        spread = visible.T @ visible @ prior
        noise = _NOISE * np.trace(spread) / len(visible)
        if noise <= 0:
            return np.zeros((self.rows, self.columns), np.float32)
        spread[np.diag_indices_from(spread)] += noise
        values = prior @ np.linalg.solve(spread, visible.T @ weights)
        return values.reshape(self.rows, self.columns).astype(np.float32)

    def _prior(self) -> _Doubles:
        """Return the covariance of the cells' values, (cells, cells)."""
        y, x = np.mgrid[0 : self.rows, 0 : self.columns]
        at = np.stack([y.ravel(), x.ravel()], axis=1).astype(np.float64)
        squared = np.square(at[:, np.newaxis] - at[np.newaxis]).sum(axis=-1)
        covariance: _Doubles = np.exp(-squared / (2 * math.pow(_LENGTH, 2)))
        return covariance


def enlarge(grid: Floats, size: tuple[int, int]) -> Floats:
    """Return a grid as (height, width) pixels of `size`, (width, height)."""
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR), np.float32)
