"""Mean average precision at an IoU of 0.5, as in PASCAL VOC and Darknet.

Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010, section 4.2, with the area
under the whole precision-recall curve instead of eleven points of it, as VOC does since 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
from elastic_yolo.detector.nms import overlaps

MIN_IOU = 0.5
# Detections below this score are not part of the curve; Darknet's `detector map` uses the same.
LOWEST_SCORE = 0.005


@dataclass(frozen=True)
class ClassMatches:
    """The detections of one class in all pictures, matched with the labelled objects.

    `scores` (k,) float32, best first; `correct` (k,) bool; `pictures` (k,) the index of each
    detection's picture; `objects` (n,) counts the labelled objects of each picture.
    """

    objects: NDArray[np.int64]
    scores: Floats
    correct: NDArray[np.bool_]
    pictures: NDArray[np.int64]

    def average_precision(self) -> float:
        """Return the area under the monotonically decreasing precision-recall curve."""
        return float(self.sampled_precision(np.ones((1, len(self.objects)), np.int64))[0][0])

    def sampled_precision(
        self, drawn: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the average precision, (m,), and the number of objects, (m,), of m samples.

        `drawn` is (m, n): how often each picture occurs in each sample. Without objects the
        average precision is 0.
        """
        objects = drawn @ self.objects
        # Detections of equal score form one point of the curve: their order means nothing.
        last = np.ones(len(self.scores), bool)
        last[:-1] = self.scores[1:] != self.scores[:-1]
        counted = drawn[:, self.pictures]
        hits = np.cumsum(counted * self.correct, axis=1)[:, last]
        # Detections of pictures that were not drawn change nothing.
        precision = hits / np.maximum(np.cumsum(counted, axis=1)[:, last], 1)
        falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        steps = np.diff(hits / np.maximum(objects, 1)[:, None], axis=1, prepend=0)
        return (steps * falling).sum(axis=1), objects


def mean_average_precision(found: list[Floats], truth: list[Floats]) -> float:
    """Return the mean of the average precision of every class that occurs in the truth.

    `found[i]` is (k, 6) float32, x1 y1 x2 y2 score class, of picture i; `truth[i]` is (m, 5)
    float32, x1 y1 x2 y2 class. Returns 1 if the truth has no object at all.
    """
    classes = match_classes(found, truth)
    if not classes:
        return 1.0
    return float(np.mean([matches.average_precision() for matches in classes]))


def match_classes(found: list[Floats], truth: list[Floats]) -> list[ClassMatches]:
    """Match the detections of every class that occurs in the truth.

    Shapes as in `mean_average_precision`.
    """
    occurring = np.unique(np.concatenate([np.empty(0), *(boxes[:, 4] for boxes in truth)]))
    return [match_class(found, truth, number) for number in occurring]


def match_class(found: list[Floats], truth: list[Floats], number: float) -> ClassMatches:
    """Match the detections of one class in all pictures with its objects.

    Shapes as in `mean_average_precision`; `number` is the class index.
    """
    scores, correct, objects = [], [], []
    for detections, boxes in zip(found, truth, strict=True):
        of_class = detections[detections[:, CLASS] == number]
        expected = boxes[boxes[:, 4] == number]
        scores.append(of_class[:, SCORE])
        correct.append(_match_picture(of_class, expected))
        objects.append(len(expected))
    pictures = np.repeat(np.arange(len(scores)), [len(part) for part in scores])
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="stable")
    return ClassMatches(
        np.array(objects, np.int64),
        all_scores[order],
        np.concatenate(correct)[order],
        pictures[order],
    )


def _match_picture(detections: Floats, expected: Floats) -> NDArray[np.bool_]:
    """Return for each detection, best score first, whether it is the first to match an object."""
    correct = np.zeros(len(detections), bool)
    unmatched = np.ones(len(expected), bool)
    for row, detection in enumerate(detections):
        if not len(expected):
            break
        overlap = overlaps(detection[:4], expected[:, :4])
        best = int(overlap.argmax())
        correct[row] = overlap[best] >= MIN_IOU and unmatched[best]
        unmatched[best] &= not correct[row]
    return correct
