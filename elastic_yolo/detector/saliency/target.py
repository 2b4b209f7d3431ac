"""The detection that is explained, and how much of it is left in another prediction.

D-RISE weighs a mask by the best product of IoU, cosine similarity of the class vectors and
objectness. Our predictions have one class and one score for each box. So the class vector is the
class alone, and the weight is the best IoU x score of a box of the same class, where the score is
objectness x class probability: docs/decisions/043-explain.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
from elastic_yolo.detector.nms import overlaps

LOWEST_SCORE = 0.01
"""Threshold of predictions that are weighed: a box whose score has fallen still counts."""
# A box with less overlap is another object.
_SAME_OBJECT = 0.5


@dataclass(frozen=True)
class Target:
    """A detection: its class, and its box, (4,) float32 x1 y1 x2 y2 in network pixels."""

    class_number: int
    box: Floats

    def weigh(self, rows: Floats) -> float:
        """Return how much of it is left in a prediction, (k, 6) rows, from 0 to 1."""
        same = rows[rows[:, CLASS] == self.class_number]
        if not len(same):
            return 0.0
        return float((overlaps(same[:, :4], self.box[np.newaxis]) * same[:, SCORE]).max())

    def find_score(self, rows: Floats) -> float | None:
        """Return the best score of the object itself in a prediction; None if it is not there."""
        same = rows[rows[:, CLASS] == self.class_number]
        found = same[overlaps(same[:, :4], self.box[np.newaxis]) >= _SAME_OBJECT]
        return float(found[:, SCORE].max()) if len(found) else None
