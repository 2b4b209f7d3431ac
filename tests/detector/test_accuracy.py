"""Mean average precision, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.accuracy import mean_average_precision
from elastic_yolo.detector.boxes import Floats

LEFT, MIDDLE, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def truth(*rows: tuple[tuple[int, ...], int]) -> Floats:
    return np.array([[*box, label] for box, label in rows], np.float32).reshape(-1, 5)


def found(*rows: tuple[tuple[int, ...], float, int]) -> Floats:
    return np.array([[*box, score, label] for box, score, label in rows], np.float32).reshape(-1, 6)


def test_all_found_and_nothing_else_is_one() -> None:
    answers = found((LEFT, 0.9, 0), (MIDDLE, 0.8, 1))

    assert mean_average_precision([answers], [truth((LEFT, 0), (MIDDLE, 1))]) == 1


def test_a_false_positive_counts_only_above_true_positives() -> None:
    """A false positive with a higher score lowers the precision at the one object to 1/2."""
    wanted = [truth((LEFT, 0))]

    late = mean_average_precision([found((LEFT, 0.9, 0), (RIGHT, 0.8, 0))], wanted)
    early = mean_average_precision([found((RIGHT, 0.9, 0), (LEFT, 0.8, 0))], wanted)

    assert (late, early) == (1, 0.5)


def test_a_missed_object_lowers_the_recall() -> None:
    answers = [found((LEFT, 0.9, 0))]

    assert mean_average_precision(answers, [truth((LEFT, 0), (RIGHT, 0))]) == 0.5


def test_a_second_detection_of_an_object_is_wrong() -> None:
    """Right, wrong, right: half of the recall at precision 1, the other half at 2/3."""
    answers = [found((LEFT, 0.9, 0), (LEFT, 0.8, 0), (RIGHT, 0.7, 0))]

    score = mean_average_precision(answers, [truth((LEFT, 0), (RIGHT, 0))])

    assert score == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize(("width", "expected"), [(5, 1.0), (4, 0.0)])
def test_half_of_the_union_must_be_shared(width: int, expected: float) -> None:
    answers = [found(((0, 0, width, 10), 0.9, 0))]

    assert mean_average_precision(answers, [truth((LEFT, 0))]) == expected


def test_the_best_score_comes_first_over_all_pictures() -> None:
    """The false positive in the second picture has a higher score than the true positive."""
    answers = [found((LEFT, 0.6, 0)), found((LEFT, 0.9, 0))]

    assert mean_average_precision(answers, [truth((LEFT, 0)), truth()]) == 0.5


def test_detections_of_equal_score_form_one_point() -> None:
    """A true and a false positive of equal score: precision is 1/2 where recall becomes 1."""
    right, wrong = found((LEFT, 0.9, 0)), found((MIDDLE, 0.9, 0))
    wanted = truth((LEFT, 0))

    assert mean_average_precision([right, wrong], [wanted, truth()]) == 0.5
    assert mean_average_precision([wrong, right], [truth(), wanted]) == 0.5


def test_classes_count_alike_however_often_they_occur() -> None:
    answers = [found((LEFT, 0.9, 0), (MIDDLE, 0.8, 0))]
    wanted = [truth((LEFT, 0), (MIDDLE, 0), (RIGHT, 1))]

    assert mean_average_precision(answers, wanted) == 0.5


def test_a_detection_of_another_class_does_not_match() -> None:
    assert mean_average_precision([found((LEFT, 0.9, 1))], [truth((LEFT, 0))]) == 0


def test_without_objects_the_map_is_1() -> None:
    assert mean_average_precision([found((LEFT, 0.9, 1))], [truth()]) == 1
    assert mean_average_precision([], []) == 1
