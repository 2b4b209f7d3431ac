"""How far two detectors with the same labels agree."""

from __future__ import annotations

import numpy as np

from detector.boxes import CLASS, Floats, Image
from detector.detector import Detector
from detector.nms import overlaps

_MIN_IOU = 0.5


def agreement(reference: Detector, other: Detector, images: list[Image]) -> float:
    """Return the F1 score of `other`'s boxes with `reference`'s taken for the truth; 1 is the same.

    Boxes count as the same with one label and an overlap of at least 0.5. `images` are pictures as
    they enter the network. Without any box on either side the agreement is 1.
    """
    same = total = 0
    for image in images:
        wanted, found = (_find(detector, image) for detector in (reference, other))
        same += _count_same(wanted, found)
        total += len(wanted) + len(found)
    return 2 * same / total if total else 1.0


def _find(detector: Detector, image: Image) -> Floats:
    outputs = detector.run(image[np.newaxis])
    return detector.find(outputs, detector.model.threshold, detector.model.iou)[0]


def _count_same(wanted: Floats, found: Floats) -> int:
    left = np.ones(len(wanted), bool)
    same = 0
    for row in found:
        fits = left & (wanted[:, CLASS] == row[CLASS])
        overlap = np.where(fits, overlaps(row[:4], wanted[:, :4]), 0)
        if len(overlap) and overlap.max() >= _MIN_IOU:
            left[int(overlap.argmax())] = False
            same += 1
    return same
