"""The pixels of a map in order of their saliency: what deletion and insertion remove and add.

Source: Petsiuk et al., RISE, 2018, section 4.3.
"""

from __future__ import annotations

import numpy as np

from elastic_yolo.detector.boxes import Floats


class Ranking:
    """The order of a map's pixels, the most salient first; equal ones from top to bottom."""

    def __init__(self, saliency: Floats) -> None:
        """Sort the pixels of a (height, width) map."""
        order = np.argsort(-saliency, axis=None, kind="stable")
        ranks = np.empty(order.size, np.intp)
        ranks[order] = np.arange(order.size)
        self._ranks = ranks.reshape(saliency.shape)

    def without_best(self, part: float) -> Floats:
        """Return a mask, (height, width) of 0 and 1, that hides the best `part` of all pixels."""
        return (self._ranks >= round(part * self._ranks.size)).astype(np.float32)

    def best_alone(self, part: float) -> Floats:
        """Return a mask that hides all but the best `part` of all pixels."""
        return 1 - self.without_best(part)


def area_under(parts: Floats, scores: Floats) -> float:
    """Return the area under a curve of scores over parts from 0 to 1, by the trapezoidal rule."""
    steps = np.diff(parts)
    return float((steps * (scores[1:] + scores[:-1]) / 2).sum())
