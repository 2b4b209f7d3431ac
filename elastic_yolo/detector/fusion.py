"""One answer out of those of several models: weighted boxes fusion.

Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object
detection models", 2021, section 3: boxes of one label that overlap become one, whose coordinates
are the mean weighted by score; its score is their mean, lowered by the models that saw nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Detection, Floats
from elastic_yolo.detector.nms import overlaps

# From here on two boxes are the same object: the paper's own choice.
_MIN_IOU = 0.55


@dataclass
class _Cluster:
    """Boxes of one object, as sums: how many, their scores, their corners weighted by score."""

    boxes: int = 0
    score: float = 0.0
    corners: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4, np.float64))

    def add(self, corners: Floats, score: float) -> Floats:
        """Take a box and return the fused one."""
        self.boxes += 1
        self.score += score
        self.corners += corners * score
        return (self.corners / self.score).astype(np.float32)


def fuse(answers: Sequence[Sequence[Detection]]) -> list[Detection]:
    """Return what several models have found in one picture as one answer, best score first.

    Labels are what says that two boxes may be the same, so the models may have other classes.
    """
    every = sorted((one for answer in answers for one in answer), key=lambda one: -one.score)
    found = []
    for label in dict.fromkeys(one.label for one in every):
        for cluster in _cluster([one for one in every if one.label == label]):
            seen = min(cluster.boxes, len(answers)) / len(answers)
            score = round(cluster.score / cluster.boxes * seen, 6)
            found.append(Detection(label, score, _centre(cluster.corners / cluster.score)))
    return sorted(found, key=lambda one: -one.score)


def _cluster(found: list[Detection]) -> list[_Cluster]:
    """Put each box, best score first, to the fused one that it overlaps most, or for itself."""
    clusters: list[_Cluster] = []
    fused = np.empty((0, 4), np.float32)
    for one in found:
        corners = _corners(one)
        overlap = overlaps(corners, fused)
        best = int(overlap.argmax()) if len(fused) else -1
        if best < 0 or overlap[best] < _MIN_IOU:
            clusters.append(_Cluster())
            fused = np.vstack([fused, corners])
            best = len(clusters) - 1
        # A score of 0 would be no weight at all.
        fused[best] = clusters[best].add(corners, max(one.score, 1e-9))
    return clusters


def _corners(one: Detection) -> Floats:
    x, y, width, height = one.box
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)


def _centre(corners: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, right, bottom = corners.tolist()
    middle = ((left + right) / 2, (top + bottom) / 2)
    x, y, width, height = (round(value, 2) for value in (*middle, right - left, bottom - top))
    return x, y, width, height
