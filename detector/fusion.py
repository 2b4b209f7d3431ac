"""One answer out of those of several models: weighted boxes fusion.

Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object
detection models", 2021, section 3: boxes of one label that overlap become one, whose coordinates
are the mean weighted by score; its score is their mean, lowered by the models that saw nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detector.boxes import Detection, Floats
from detector.nms import overlaps

# From here on two boxes are the same object: the paper's own choice.
_MIN_IOU = 0.55


@dataclass
class _Cluster:
    """Boxes of one object: their corners and scores."""

    corners: list[Floats] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def fused(self) -> Floats:
        return np.average(self.corners, axis=0, weights=self.scores).astype(np.float32)


def fuse(answers: Sequence[Sequence[Detection]]) -> list[Detection]:
    """Return what several models have found in one picture as one answer, best score first.

    Labels are what says that two boxes may be the same, so the models may have other classes.
    """
    every = sorted((one for answer in answers for one in answer), key=lambda one: -one.score)
    found = []
    for label in dict.fromkeys(one.label for one in every):
        for cluster in _cluster([one for one in every if one.label == label]):
            seen = min(len(cluster.scores), len(answers)) / len(answers)
            score = round(float(np.mean(cluster.scores)) * seen, 6)
            found.append(Detection(label, score, _centre(cluster.fused())))
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
        clusters[best].corners.append(corners)
        # A score of 0 would be no weight at all.
        clusters[best].scores.append(max(one.score, 1e-9))
        fused[best] = clusters[best].fused()
    return clusters


def _corners(one: Detection) -> Floats:
    x, y, width, height = one.box
    return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)


def _centre(corners: Floats) -> tuple[float, float, float, float]:
    left, top, right, bottom = corners.astype(float).tolist()
    middle = ((left + right) / 2, (top + bottom) / 2)
    x, y, width, height = (round(value, 2) for value in (*middle, right - left, bottom - top))
    return x, y, width, height
