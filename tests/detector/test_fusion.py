"""Weighted boxes fusion of the detections of several models."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.fusion import fuse


def seen(label: str, score: float, *box: float) -> Detection:
    x, y, width, height = box
    return Detection(label, score, (x, y, width, height))


def test_two_boxes_of_one_object_become_their_mean_by_score() -> None:
    """Scores 0.9 and 0.3 weigh the boxes 3 to 1."""
    (cat,) = fuse([[seen("cat", 0.9, 50, 50, 20, 20)], [seen("cat", 0.3, 52, 50, 20, 24)]])

    assert cat.label == "cat"
    assert cat.score == pytest.approx(0.6)
    assert cat.box == pytest.approx((50.5, 50, 20, 21))


def test_a_box_of_one_of_two_models_gets_half_the_score() -> None:
    assert fuse([[seen("cat", 0.8, 50, 50, 20, 20)], []]) == [seen("cat", 0.4, 50, 50, 20, 20)]


@pytest.mark.parametrize(
    "other",
    [seen("dog", 0.8, 50, 50, 20, 20), seen("cat", 0.8, 70, 50, 20, 20)],
    ids=["another label", "another place"],
)
def test_boxes_without_overlap_are_not_fused(other: Detection) -> None:
    found = fuse([[seen("cat", 0.8, 50, 50, 20, 20)], [other]])

    assert len(found) == 2
    assert {one.score for one in found} == {0.4}


def apart(count: int) -> list[Detection]:
    """Return boxes far from each other, best score first."""
    return [seen("cat", (90 - n) / 100, 100 * n + 50, 50, 20, 30) for n in range(count)]


@given(st.integers(0, 20), st.integers(1, 4))
def test_models_that_agree_are_fused_to_the_same_boxes(objects: int, models: int) -> None:
    found = fuse([apart(objects)] * models)

    assert [one.label for one in found] == ["cat"] * objects
    for one, expected in zip(found, apart(objects), strict=True):
        assert one.score == pytest.approx(expected.score)
        assert one.box == pytest.approx(expected.box, abs=0.01)


def test_the_order_of_the_models_does_not_matter() -> None:
    answers = [
        [seen("cat", 0.9, 50, 50, 20, 20), seen("dog", 0.4, 20, 20, 9, 9)],
        [seen("cat", 0.7, 52, 50, 20, 22)],
        [seen("cat", 0.5, 49, 51, 22, 20), seen("dog", 0.6, 21, 20, 9, 9)],
    ]

    fused = [fuse(order) for order in permutations(answers)]

    assert all(one == fused[0] for one in fused)


def test_a_box_with_score_0_has_no_weight() -> None:
    (cat,) = fuse([[seen("cat", 0.8, 50, 50, 20, 20)], [seen("cat", 0.0, 52, 50, 20, 20)]])

    assert cat.box == pytest.approx((50, 50, 20, 20))
