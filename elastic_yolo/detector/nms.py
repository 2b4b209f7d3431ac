"""Non-maximum suppression, class by class, as Darknet does it.

`do_nms_sort` of `src/box.c`, and `diounms_sort` of AlexeyAB's fork (Zheng et al., "Distance-IoU
Loss", 2019, section 4). A box may be a detection of several classes; suppression for one class does
not affect the others.

Darknet measures boxes in widths and heights of the picture. IoU is the same in any unit, but the
distance of DIoU is not: this module measures it in widths and heights of the network's input. The
two agree only if the picture is stretched to the input: docs/decisions/005-two-darknets.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
from elastic_yolo.detector.darknet.layers import Head, Network, Nms
from elastic_yolo.detector.heads import Candidates, decode_heads

# The best candidates over all classes. A threshold of 0 makes every class of every cell of every
# head a candidate: comparing all pairs would block an engine for minutes.
MOST_CANDIDATES = 4000
# Candidates that are compared with all others in one numpy call: enough to amortise the call, few
# enough that the (block, n) table stays in a core's cache.
_BLOCK = 64


def detect_in_heads(
    network: Network, outputs: list[Floats], threshold: float, iou: float
) -> Floats:
    """Return the detections of one picture, as `suppress` does; arguments as of `decode_heads`."""
    found = decode_heads(network, outputs, threshold)
    return suppress(found, iou, network.heads[-1])


def suppress(candidates: Candidates, iou: float, head: Head | None = None) -> Floats:
    """Return the remaining detections, (n, 6) float32 in network pixels, best score first.

    Among the boxes of a class, each removes those after it whose overlap with it exceeds `iou`.
    `head` selects IoU or DIoU; like Darknet, callers pass the last head of the network.
    """
    classes, rows = np.nonzero(candidates.scores.T)
    scores = candidates.scores[rows, classes]
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    detections = np.empty((len(order), 6), np.float32)
    detections[:, :4] = candidates.boxes[rows[order]]
    detections[:, SCORE] = scores[order]
    detections[:, CLASS] = classes[order]
    diou = head if head is not None and head.nms is Nms.DIOU else None
    return detections[_greedy(detections, iou, diou)]


def _greedy(detections: Floats, iou: float, diou: Head | None) -> NDArray[np.bool_]:
    """Return (n,) bool: whether no better one of the (n, 6) detections of its class removes it."""
    alive = np.ones(len(detections), bool)
    for start in range(0, len(detections), _BLOCK):
        # A detection removes only detections after it.
        removes = _removals(detections[start : start + _BLOCK], detections[start:], iou, diou)
        for number, row in enumerate(removes):
            if alive[start + number]:
                alive[start + number + 1 :] &= ~row[number + 1 :]
    return alive


def _removals(block: Floats, others: Floats, iou: float, diou: Head | None) -> NDArray[np.bool_]:
    """Return (b, n) bool: whether detection b of the block removes detection n if n is after it."""
    left, right = block[:, np.newaxis], others[np.newaxis]
    overlap = overlaps(left[..., :4], right[..., :4])
    if diou is not None:
        unit = _unit(diou)
        apart = distances(left[..., :4] / unit, right[..., :4] / unit)
        overlap -= apart ** np.float32(diou.nms_beta)
    removes: NDArray[np.bool_] = (overlap > iou) & (left[..., CLASS] == right[..., CLASS])
    return removes


def _unit(head: Head) -> Floats:
    size = head.network
    return np.array([size.width, size.height, size.width, size.height], np.float32)


def overlaps(boxes: Floats, others: Floats) -> Floats:
    """Return the intersection over union of (..., 4) boxes, broadcast against each other."""
    width = np.minimum(boxes[..., 2], others[..., 2]) - np.maximum(boxes[..., 0], others[..., 0])
    height = np.minimum(boxes[..., 3], others[..., 3]) - np.maximum(boxes[..., 1], others[..., 1])
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    union = _area(boxes) + _area(others) - intersection
    # The overlap of two boxes without area is 0, not NaN.
    result: Floats = np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)
    return result


def _area(boxes: Floats) -> Floats:
    area: Floats = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return area


def distances(boxes: Floats, others: Floats) -> Floats:
    """Return the DIoU distance of (..., 4) boxes, broadcast against each other.

    That is the squared distance of the two centres divided by the squared diagonal of the smallest
    box around both, or 0 if that diagonal is 0.
    """
    apart = (boxes[..., :2] + boxes[..., 2:] - others[..., :2] - others[..., 2:]) / 2
    around = np.maximum(boxes[..., 2:], others[..., 2:]) - np.minimum(
        boxes[..., :2], others[..., :2]
    )
    squared = np.square(apart).sum(axis=-1)
    diagonal = np.square(around).sum(axis=-1)
    result: Floats = np.divide(squared, diagonal, out=np.zeros_like(squared), where=diagonal > 0)
    return result
