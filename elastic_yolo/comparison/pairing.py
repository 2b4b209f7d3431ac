"""Pair the detections of two implementations in one picture, and measure how far they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from elastic_yolo.detector.boxes import Detection, Floats
from elastic_yolo.detector.nms import overlaps

# Two boxes of one label are the same object from this overlap on, as in mAP@0.5.
PAIR_IOU = 0.5


class Kind(StrEnum):
    """What became of a box: `lost` if the other implementation alone has it."""

    SAME = "same"
    MOVED = "moved"
    LOST = "lost"
    GAINED = "gained"


@dataclass(frozen=True)
class Tolerance:
    """The largest differences of a box that has not moved.

    `px` applies to each of centre x, centre y, width and height, `score` to the score.
    """

    px: float = 1.0
    score: float = 0.01


@dataclass(frozen=True)
class Pair:
    """One object: the other implementation's detection and ours; one of the two may be None."""

    theirs: Detection | None
    ours: Detection | None

    @property
    def label(self) -> str:
        """The label, which both have."""
        return self._known.label

    @property
    def best_score(self) -> float:
        """The larger one of the two scores."""
        return max(one.score for one in (self.theirs, self.ours) if one is not None)

    @property
    def px(self) -> float:
        """The largest difference of the boxes in pixels; 0 if one is missing."""
        if self.theirs is None or self.ours is None:
            return 0.0
        return max(abs(a - b) for a, b in zip(self.theirs.box, self.ours.box, strict=True))

    @property
    def score(self) -> float:
        """The difference of the scores; 0 if one is missing."""
        if self.theirs is None or self.ours is None:
            return 0.0
        return abs(self.theirs.score - self.ours.score)

    def kind(self, tolerance: Tolerance) -> Kind:
        """Return what became of the box."""
        if self.ours is None:
            return Kind.LOST
        if self.theirs is None:
            return Kind.GAINED
        moved = self.px > tolerance.px or self.score > tolerance.score
        return Kind.MOVED if moved else Kind.SAME

    @property
    def _known(self) -> Detection:
        found = self.theirs or self.ours
        if found is None:
            raise ValueError("a pair without detections")
        return found


def pair_detections(
    theirs: Iterable[Detection],
    ours: Iterable[Detection],
    threshold: float,
    tolerance: Tolerance,
) -> list[Pair]:
    """Pair boxes of the same label, the best overlap first, from an IoU of PAIR_IOU on.

    Callers pass detections down to `threshold - tolerance.score`: a box at the threshold is not
    lost because its score differs in the third decimal. All others below the threshold are ignored.
    """
    groups: dict[str, tuple[list[Detection], list[Detection]]] = defaultdict(lambda: ([], []))
    for one in theirs:
        groups[one.label][0].append(one)
    for one in ours:
        groups[one.label][1].append(one)
    return [
        reported
        for group in groups.values()
        for pair in _pair_label(*group)
        if (reported := _as_reported(pair, threshold, tolerance)) is not None
    ]


def _as_reported(pair: Pair, threshold: float, tolerance: Tolerance) -> Pair | None:
    """Return a pair without what its detector does not report, or None if nothing is left."""
    theirs, ours = pair.theirs, pair.ours
    if theirs and ours and pair.score <= tolerance.score:
        return pair if pair.best_score > threshold else None
    theirs = theirs if theirs and theirs.score > threshold else None
    ours = ours if ours and ours.score > threshold else None
    return Pair(theirs, ours) if theirs or ours else None


def _pair_label(theirs: list[Detection], ours: list[Detection]) -> Iterator[Pair]:
    iou = overlaps(_corners(theirs)[:, np.newaxis], _corners(ours)[np.newaxis])
    rows, columns = np.nonzero(iou >= PAIR_IOU)
    left, right = dict(enumerate(theirs)), dict(enumerate(ours))
    for at in np.argsort(-iou[rows, columns], kind="stable"):
        row, column = int(rows[at]), int(columns[at])
        if row in left and column in right:
            yield Pair(left.pop(row), right.pop(column))
    yield from (Pair(one, None) for one in left.values())
    yield from (Pair(None, one) for one in right.values())


def _corners(found: Sequence[Detection]) -> Floats:
    """Return (n, 4) float32: x1 y1 x2 y2."""
    boxes = np.array([one.box for one in found], np.float32).reshape(-1, 4)
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    corners: Floats = np.hstack([centres - halves, centres + halves])
    return corners
