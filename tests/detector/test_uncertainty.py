"""The interval of a loss of mAP."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.accuracy import mean_average_precision
from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.uncertainty import loss_interval

BOX = [0, 0, 10, 10]
ONE = np.array([[*BOX, 0.9, 0]], np.float32)
NONE = np.empty((0, 6), np.float32)
TRUTH = np.array([[*BOX, 0]], np.float32)


def missed(pictures: int, every: int) -> tuple[list[Floats], list[Floats], list[Floats]]:
    """Return a reference that finds all objects, a detector that misses some, and the truth."""
    found = [NONE if number % every == 0 else ONE for number in range(pictures)]
    return [ONE] * pictures, found, [TRUTH] * pictures


def test_equal_detections_lose_nothing_for_certain() -> None:
    reference, _, truth = missed(20, 4)

    assert loss_interval(reference, reference, truth) == (0, 0)


@pytest.mark.parametrize("pictures", [40, 400])
def test_the_interval_is_that_of_a_share_of_pictures(pictures: int) -> None:
    """One object for each picture: the loss is a binomial share, sqrt(p (1 - p) / n) wide."""
    reference, found, truth = missed(pictures, 4)
    deviation = np.sqrt(0.25 * 0.75 / pictures)

    low, high = loss_interval(reference, found, truth)

    assert mean_average_precision(found, truth) == 0.75
    assert low == pytest.approx(0.25 - 1.96 * deviation, abs=0.4 * deviation)
    assert high == pytest.approx(0.25 + 1.96 * deviation, abs=0.4 * deviation)


def test_one_picture_gives_no_width() -> None:
    """Every sample is that picture: the interval says nothing, the number of pictures does."""
    reference, found, truth = missed(1, 1)

    assert loss_interval(reference, found, truth) == (1, 1)


def test_samples_agree_with_the_map_of_repeated_pictures() -> None:
    """Two pictures, drawn with replacement: the extreme samples have one of them twice."""
    wrong = np.array([[50, 50, 60, 60, 0.95, 0]], np.float32)
    both = [np.concatenate([wrong, ONE]), ONE]
    reference, truth = [ONE, ONE], [TRUTH, TRUTH]
    repeated = mean_average_precision([both[0]] * 2, truth)

    assert loss_interval(reference, both, truth) == (0, 1 - repeated)


def test_classes_that_no_sample_contains_are_left_out() -> None:
    """The second class occurs in one of two pictures."""
    truth = [np.array([[*BOX, 0]], np.float32), np.array([[*BOX, 1]], np.float32)]
    found = [ONE, NONE]
    reference = [ONE, np.array([[*BOX, 0.9, 1]], np.float32)]

    assert loss_interval(reference, found, truth) == (0, 1)
