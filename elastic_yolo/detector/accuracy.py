"""How good answers are: mean average precision, with the overlap of PASCAL VOC and of Darknet.

Everingham et al., "The PASCAL Visual Object Classes Challenge", 2010, section 4.2, with the area
under the whole curve instead of eleven points of it, as VOC does since 2010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats
from elastic_yolo.detector.nms import overlaps

MIN_IOU = 0.5
# Where the curve of precision over recall begins: Darknet's own `detector map` uses this score too.
LOWEST_SCORE = 0.005


@dataclass(frozen=True)
class Judged:
    """The answers of one class: their scores, best first, and which are right; (k,) each."""

    objects: int
    scores: Floats
    right: NDArray[np.bool_]

    def average_precision(self) -> float:
        """Return the area under the curve of precision made falling, over every recall."""
        # Answers of one score come in together: none of them is better than another.
        last = np.ones(len(self.scores), bool)
        last[:-1] = self.scores[1:] != self.scores[:-1]
        hits = np.cumsum(self.right)[last]
        precision = hits / np.arange(1, len(last) + 1)[last]
        falling = np.maximum.accumulate(precision[::-1])[::-1]
        steps = np.diff(np.concatenate([[0.0], hits / self.objects]))
        return float((steps * falling).sum())


def mean_average_precision(found: list[Floats], truth: list[Floats]) -> float:
    """Return the mean of the average precision of every class that occurs in the truth.

    `found[i]` is (k, 6), x1 y1 x2 y2 score class; `truth[i]` is (m, 5), x1 y1 x2 y2 class. Without
    any object there is nothing to miss: 1.
    """
    occurring = np.unique(np.concatenate([np.empty(0), *(boxes[:, 4] for boxes in truth)]))
    if not len(occurring):
        return 1.0
    judged = (judge(found, truth, number) for number in occurring)
    return float(np.mean([answers.average_precision() for answers in judged]))


def judge(found: list[Floats], truth: list[Floats], number: float) -> Judged:
    """Match the answers of one class in all pictures with its objects; shapes as above."""
    scores, right, objects = [], [], 0
    for answers, boxes in zip(found, truth, strict=True):
        mine = answers[answers[:, CLASS] == number]
        wanted = boxes[boxes[:, 4] == number]
        scores.append(mine[:, SCORE])
        right.append(_judge(mine, wanted))
        objects += len(wanted)
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    return Judged(objects, every[order], np.concatenate(right)[order])


def _judge(answers: Floats, wanted: Floats) -> NDArray[np.bool_]:
    """Say of each answer, best score first, whether it is the first right one for an object."""
    right = np.zeros(len(answers), bool)
    free = np.ones(len(wanted), bool)
    for row, answer in enumerate(answers):
        if not len(wanted):
            break
        overlap = overlaps(answer[:4], wanted[:, :4])
        best = int(overlap.argmax())
        right[row] = overlap[best] >= MIN_IOU and free[best]
        free[best] &= not right[row]
    return right
