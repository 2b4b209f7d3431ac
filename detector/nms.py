"""Non-maximum suppression, class by class, as Darknet's do_nms_sort does (`src/box.c`).

A box that is suppressed for one class may still count for another; a box may count for several.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.boxes import Floats, no_detections
from detector.heads import Candidates


def suppress(candidates: Candidates, iou: float) -> Floats:
    """Return what remains as (n, 6) float32 detections in network pixels, best score first.

    Among the boxes of a class, each removes those after it whose overlap with it exceeds `iou`.
    """
    classes = np.flatnonzero(candidates.scores.any(axis=0))
    found = [_suppress_class(candidates, int(number), iou) for number in classes]
    if not found:
        return no_detections()
    detections = np.concatenate(found)
    return detections[np.argsort(-detections[:, 4], kind="stable")]


def _suppress_class(candidates: Candidates, number: int, iou: float) -> Floats:
    scores = candidates.scores[:, number]
    order = np.argsort(-scores, kind="stable")
    order = order[: np.count_nonzero(scores)]
    kept = _greedy(candidates.boxes[order], iou)
    chosen = order[kept]
    detections = np.empty((len(chosen), 6), np.float32)
    detections[:, :4] = candidates.boxes[chosen]
    detections[:, 4] = scores[chosen]
    detections[:, 5] = number
    return detections


def _greedy(boxes: Floats, iou: float) -> NDArray[np.intp]:
    kept: list[int] = []
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            kept.append(i)
            alive[i + 1 :] &= ~(overlaps(boxes[i], boxes[i + 1 :]) > iou)
    return np.array(kept, np.intp)


def overlaps(box: Floats, others: Floats) -> Floats:
    """Return the intersection over union of one (4,) box with each of (k, 4), as (k,) float32."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    intersection = np.clip(width, 0, None) * np.clip(height, 0, None)
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - intersection
    # Two boxes without area overlap nowhere.
    result: Floats = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return result
