"""Non-maximum suppression, class by class, as Darknet does it.

`do_nms_sort` of `src/box.c`, and `diounms_sort` of AlexeyAB's fork (Zheng et al., "Distance-IoU
Loss", 2019, section 4). A box that is suppressed for one class may still count for another; a box
may count for several.

Darknet measures boxes in widths and heights of the picture. An overlap is the same in any unit, but
a distance is not: here it is in widths and heights of the network's input, which is the same
wherever the picture was stretched to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detector.boxes import Floats, no_detections
from detector.darknet.layers import Head, Nms
from detector.heads import Candidates

# Of one class, best first. A threshold of 0 makes every cell of every head a candidate: comparing
# all of them with all others would keep an engine busy for the better part of a minute.
MOST_CANDIDATES = 1000


def suppress(candidates: Candidates, iou: float, head: Head | None = None) -> Floats:
    """Return what remains as (n, 6) float32 detections in network pixels, best score first.

    Among the boxes of a class, each removes those after it whose overlap with it exceeds `iou`.
    `head` says how overlap is measured; Darknet asks the last head of a network.
    """
    diou = head if head is not None and head.nms is Nms.DIOU else None
    classes = np.flatnonzero(candidates.scores.any(axis=0))
    found = [_suppress_class(candidates, int(number), iou, diou) for number in classes]
    if not found:
        return no_detections()
    detections = np.concatenate(found)
    return detections[np.argsort(-detections[:, 4], kind="stable")]


def _suppress_class(candidates: Candidates, number: int, iou: float, diou: Head | None) -> Floats:
    scores = candidates.scores[:, number]
    order = np.argsort(-scores, kind="stable")
    order = order[: min(np.count_nonzero(scores), MOST_CANDIDATES)]
    kept = _greedy(candidates.boxes[order], iou, diou)
    chosen = order[kept]
    detections = np.empty((len(chosen), 6), np.float32)
    detections[:, :4] = candidates.boxes[chosen]
    detections[:, 4] = scores[chosen]
    detections[:, 5] = number
    return detections


def _greedy(boxes: Floats, iou: float, diou: Head | None) -> NDArray[np.intp]:
    kept: list[int] = []
    relative = boxes / _unit(diou) if diou else boxes
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            kept.append(i)
            overlap = overlaps(boxes[i], boxes[i + 1 :])
            if diou is not None:
                overlap -= distances(relative[i], relative[i + 1 :]) ** np.float32(diou.nms_beta)
            alive[i + 1 :] &= ~(overlap > iou)
    return np.array(kept, np.intp)


def _unit(head: Head) -> Floats:
    size = head.network
    return np.array([size.width, size.height, size.width, size.height], np.float32)


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


def distances(box: Floats, others: Floats) -> Floats:
    """Return how far centres lie apart, as (k,) float32.

    That is the squared distance between the centres of one (4,) box and each of (k, 4), divided by
    the squared diagonal of the smallest box around both; 0 where that diagonal is 0.
    """
    apart = (box[:2] + box[2:] - others[:, :2] - others[:, 2:]) / 2
    around = np.maximum(box[2:], others[:, 2:]) - np.minimum(box[:2], others[:, :2])
    squared = np.square(apart).sum(axis=1)
    diagonal = np.square(around).sum(axis=1)
    result: Floats = np.divide(squared, diagonal, out=np.zeros_like(squared), where=diagonal > 0)
    return result
