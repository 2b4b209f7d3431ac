"""How far the boxes of one precision agree with those of fp32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
from elastic_yolo.detector.nms import overlaps

# A box with less overlap than this with its counterpart has moved.
MOVED = 0.9
# Two boxes of the same object overlap at least this much, as in mAP@0.5.
_SAME = 0.5


@dataclass(frozen=True)
class Agreement:
    """Boxes of fp32 at the threshold, and what another precision makes of them.

    `worst` is the smallest overlap (IoU) of a box with the best box of its class, 1 without boxes;
    `moved` counts the boxes with an overlap below 0.9, `lost` and `gained` those that are at the
    threshold on one side only. Where two candidates of fp32 have nearly the same score, another
    precision may select the other one: that counts as moved, too.
    """

    boxes: int
    worst: float
    moved: int
    lost: int
    gained: int


def compare_boxes(reference: list[Floats], found: list[Floats], threshold: float) -> Agreement:
    """Compare detections of the same pictures, (k, 6) float32 each.

    The counterpart of a box may have half the threshold's score, because a score just below the
    threshold is not a movement.
    """
    ious: list[float] = []
    lost = gained = 0
    for wanted, other in zip(reference, found, strict=True):
        confident = wanted[wanted[:, SCORE] >= threshold]
        answered = other[other[:, SCORE] >= threshold]
        ious += _overlaps(confident, other[other[:, SCORE] >= threshold / 2])
        lost += sum(iou < _SAME for iou in _overlaps(confident, answered))
        gained += sum(iou < _SAME for iou in _overlaps(answered, confident))
    moved = sum(iou < MOVED for iou in ious)
    return Agreement(len(ious), min(ious, default=1.0), moved, lost, gained)


def _overlaps(boxes: Floats, others: Floats) -> list[float]:
    """Return the overlap of each box with the nearest of its class, 0 without any."""
    best = []
    for box in boxes:
        same = others[others[:, CLASS] == box[CLASS]]
        best.append(float(np.max(overlaps(box[:4], same[:, :4]), initial=0.0)))
    return best
