"""Distribution of a tensor's values, and the range in which 256 steps represent them best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats

Range = tuple[float, float]
"""Lowest and highest value; 0 is between them."""

_BINS = 8192
_STEPS = 255
# Fractions of the largest magnitude to consider as an end of the range.
_FRACTIONS = np.linspace(0.3, 1.0, 29)


class Histogram:
    """Counts of values in bins of equal width from -limit to limit.

    The limit is a power of two. It doubles, which merges pairs of bins, if a value is beyond it.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._counts = np.zeros(_BINS, np.int64)
        self._limit = 0.0
        self._lowest = 0.0
        self._highest = 0.0

    def add(self, values: Floats, lowest: float, highest: float) -> None:
        """Count values, any shape; `lowest` and `highest` may include values that are not counted.

        All have to be finite.
        """
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        self._extend(max(-self._lowest, self._highest))
        scale = _BINS / (2 * self._limit)
        bins = ((values.ravel() + self._limit) * scale).astype(np.int32)
        self._counts += np.bincount(bins.clip(0, _BINS - 1), minlength=_BINS)

    def best_range(self, negative_weight: float = 1.0) -> Range:
        """Return the range with the smallest sum of cubed rounding and clipping errors.

        Squares clip values that are rare and decide a detection; fourth powers keep every outlier
        at the cost of all others. Errors of negative values count times `negative_weight`.
        """
        width = 2 * self._limit / _BINS
        centres = (np.arange(_BINS, dtype=np.float64) + 0.5) * width - self._limit
        used = np.flatnonzero(self._counts)
        centres, counts = centres[used], self._counts[used].astype(np.float64)
        counts[centres < 0] *= negative_weight**3
        lows = self._lowest * _FRACTIONS if self._lowest < 0 else np.zeros(1)
        highs = self._highest * _FRACTIONS if self._highest > 0 else np.zeros(1)
        ends = [(float(low), float(high)) for low in lows for high in highs]
        errors = [_error(centres, counts, one) for one in ends]
        return ends[int(np.argmin(errors))]

    def _extend(self, limit: float) -> None:
        if self._limit == 0:
            # The limit of an empty histogram or of one with zeros only is arbitrary.
            self._limit = float(2.0 ** np.ceil(np.log2(max(limit, 1e-6))))
        while limit > self._limit:
            merged = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros(_BINS, np.int64)
            self._counts[_BINS // 4 : _BINS * 3 // 4] = merged
            self._limit *= 2


def scale_of(ends: Range) -> tuple[np.float32, np.uint8]:
    """Return scale and zero point of uint8 values for a range."""
    low, high = ends
    scale = max(high - low, 1e-6) / _STEPS
    return np.float32(scale), np.uint8(min(round(-low / scale), _STEPS))


def _error(centres: NDArray[np.float64], counts: NDArray[np.float64], ends: Range) -> np.float64:
    scale, zero = (float(value) for value in scale_of(ends))
    steps = np.clip(np.rint(centres / scale) + zero, 0, _STEPS) - zero
    error = np.abs(centres - steps * scale)
    result: np.float64 = np.dot(counts, error * error * error)
    return result
