"""Weighted boxes fusion: combine the detections of several models on one picture.

Solovyev, Wang and Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object
detection models", 2021, section 3: overlapping boxes of one label become one box. Its coordinates
are their mean weighted by score; its score is their mean score, lowered in proportion to the models
that have no box in the cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Detection, Floats
from elastic_yolo.detector.nms import overlaps

# IoU from which two boxes count as one object; the paper's value.
_MIN_IOU = 0.55


@dataclass
class _Cluster:
    """Running sums over the boxes of one object: count, scores, and corners weighted by score."""

    boxes: int = 0
    score: float = 0.0
    corners: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4, np.float64))

    def add(self, corners: Floats, score: float) -> Floats:
        """Add a box; returns the corners of the fused box."""
        self.boxes += 1
        self.score += score
        self.corners += corners * score
        return (self.corners / self.score).astype(np.float32)


def fuse(per_model: Sequence[Sequence[Detection]]) -> list[Detection]:
    """Fuse the detections of several models on one picture; returns them best score first.

    Only boxes of equal label are fused, so the models may have different sets of classes.
    """
    every = sorted((one for found in per_model for one in found), key=lambda one: -one.score)
    fused = []
    for label in dict.fromkeys(one.label for one in every):
        for cluster in _cluster([one for one in every if one.label == label]):
            agreeing = min(cluster.boxes, len(per_model)) / len(per_model)
            score = round(cluster.score / cluster.boxes * agreeing, 6)
            fused.append(Detection(label, score, _centre(cluster.corners / cluster.score)))
    return sorted(fused, key=lambda one: -one.score)


def _cluster(found: list[Detection]) -> list[_Cluster]:
    """Add each box, best score first, to the fused box that it overlaps most, or to a new one."""
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
        # A weight of 0 would divide by zero.
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
