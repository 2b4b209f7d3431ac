"""NMS, compared with Darknet's two nested loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.darknet.layers import Head, Nms, Shape
from elastic_yolo.detector.heads import Candidates
from elastic_yolo.detector.nms import MOST_CANDIDATES, distances, overlaps, suppress

# Twice as high as wide, so that using one unit for both directions fails a test.
NETWORK = (64, 32)


def candidates_of(boxes: np.ndarray, scores: np.ndarray) -> Candidates:
    return Candidates(
        boxes.astype(np.float32), np.ones(len(boxes), np.float32), scores.astype(np.float32)
    )


def head_with(beta: float | None) -> Head:
    kind = Nms.IOU if beta is None else Nms.DIOU
    size = Shape(3, *NETWORK)
    return Head(0, 1, Shape(8, 1, 1), size, 3, ((1, 1),), nms=kind, nms_beta=beta or 0.6)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return float(shared / (area - shared)) if area > shared else 0.0


def diou(a: np.ndarray, b: np.ndarray, beta: float) -> float:
    """box_diounms of AlexeyAB's src/box.c, on boxes relative to the picture."""
    unit = np.array([NETWORK[1], NETWORK[0]] * 2)
    a, b = a / unit, b / unit
    around = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    apart = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    return iou(a, b) - float(apart / around) ** beta if around else iou(a, b)


def darknet_nms(
    boxes: np.ndarray, scores: np.ndarray, limit: float, beta: float | None
) -> set[tuple[int, int]]:
    """do_nms_sort: for each class, sort by score; each box removes overlapping later ones."""
    scores = scores.copy()
    for number in range(scores.shape[1]):
        order = np.argsort(-scores[:, number], kind="stable")
        for i, first in enumerate(order):
            if scores[first, number] == 0:
                continue
            for second in order[i + 1 :]:
                a, b = boxes[first], boxes[second]
                if (iou(a, b) if beta is None else diou(a, b, beta)) > limit:
                    scores[second, number] = 0
    return {(int(box), int(number)) for box, number in np.argwhere(scores > 0)}


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 25),
    st.sampled_from([0.0, 0.3, 0.45, 0.9]),
    st.sampled_from([None, 0.6, 0.9]),
)
def test_the_same_boxes_remain_as_in_darknet(
    seed: int, count: int, limit: float, beta: float | None
) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 40, (count, 2))
    boxes = np.hstack([corners, corners + random.integers(1, 30, (count, 2))]).astype(np.float32)
    scores = random.permutation(count * 3).reshape(count, 3) / max(1, count * 3)
    scores[scores < 0.3] = 0

    found = suppress(candidates_of(boxes, scores), limit, head_with(beta))

    expected = darknet_nms(boxes, scores.astype(np.float32), limit, beta)
    remaining = {(tuple(boxes[box]), number) for box, number in expected}
    assert {(tuple(row[:4]), int(row[5])) for row in found} == remaining
    assert len(found) == len(expected)
    assert (np.diff(found[:, 4]) <= 0).all()


def test_a_box_may_count_for_several_classes() -> None:
    found = suppress(candidates_of(np.array([[0, 0, 10, 10]]), np.array([[0.6, 0.9]])), 0.45)

    assert found[:, 5].tolist() == [1, 0]
    assert found[:, 4] == pytest.approx([0.9, 0.6])


def test_only_the_best_candidates_are_compared() -> None:
    """Boxes without overlap, which NMS alone would all keep."""
    count = MOST_CANDIDATES + 500
    corners = np.arange(count)[:, None] * 10.0
    boxes = np.hstack([corners, corners, corners + 5, corners + 5])
    scores = np.linspace(0.1, 0.9, count)[:, None]

    found = suppress(candidates_of(boxes, scores), 0.45)

    assert len(found) == MOST_CANDIDATES
    assert found[0, 4] == pytest.approx(0.9)


def test_nms_of_many_boxes_agrees_with_the_simple_loop() -> None:
    """Several blocks of candidates, with crowded classes and classes of one or two boxes."""
    random = np.random.default_rng(5)
    corners = random.integers(0, 200, (400, 2))
    boxes = np.hstack([corners, corners + random.integers(1, 60, (400, 2))]).astype(np.float32)
    scores = random.permutation(400 * 3).reshape(400, 3) / 1200
    scores[scores < 0.5] = 0
    scores[5:, 2] = 0

    found = suppress(candidates_of(boxes, scores), 0.45)

    expected = darknet_nms(boxes, scores.astype(np.float32), 0.45, None)
    assert {(tuple(row[:4]), int(row[5])) for row in found} == {
        (tuple(boxes[box]), number) for box, number in expected
    }
    assert 100 < len(found) == len(expected) < np.count_nonzero(scores)


def test_fusing_no_boxes_returns_no_boxes() -> None:
    found = suppress(candidates_of(np.empty((0, 4)), np.empty((0, 3))), 0.45)

    assert found.shape == (0, 6)


def test_boxes_without_area_overlap_nowhere() -> None:
    point = np.array([5, 5, 5, 5], np.float32)

    assert overlaps(point, point[np.newaxis]).tolist() == [0]
    assert distances(point, point[np.newaxis]).tolist() == [0]
