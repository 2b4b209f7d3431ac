"""Agreement of two precisions' boxes."""

from __future__ import annotations

import numpy as np

from elastic_yolo.detector.agreement import Agreement, compare_boxes
from elastic_yolo.detector.boxes import Floats


def found(*rows: tuple[float, float, float]) -> Floats:
    """Return boxes of 10x10 px from (left, score, class)."""
    values = [[left, 0, left + 10, 10, score, label] for left, score, label in rows]
    return np.array(values, np.float32).reshape(-1, 6)


def test_equal_boxes_agree() -> None:
    boxes = [found((0, 0.9, 1), (50, 0.6, 2)), found()]

    assert compare_boxes(boxes, boxes, 0.5) == Agreement(2, 1.0, 0, 0, 0)


def test_a_box_that_is_shifted_has_moved() -> None:
    """Shifted by one pixel of ten: 9 of 11 are shared."""
    result = compare_boxes([found((0, 0.9, 1))], [found((1, 0.9, 1))], 0.5)

    assert abs(result.worst - 9 / 11) < 1e-6
    assert (result.moved, result.lost, result.gained) == (1, 0, 0)


def test_a_score_below_the_threshold_is_a_loss_but_no_movement() -> None:
    result = compare_boxes([found((0, 0.52, 1))], [found((0, 0.48, 1))], 0.5)

    assert result == Agreement(1, 1.0, 0, 1, 0)


def test_a_box_of_another_class_is_lost_and_gained() -> None:
    result = compare_boxes([found((0, 0.9, 1))], [found((0, 0.9, 2))], 0.5)

    assert result == Agreement(1, 0.0, 1, 1, 1)


def test_boxes_below_the_threshold_do_not_count() -> None:
    assert compare_boxes([found((0, 0.4, 1))], [found()], 0.5) == Agreement(0, 1.0, 0, 0, 0)
