"""The weight of a mask, the map of many, and the order of its pixels, against slow oracles."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from elastic_yolo.detector.saliency.heat_map import to_png
from elastic_yolo.detector.saliency.masks import Masks
from elastic_yolo.detector.saliency.ranking import Ranking, area_under
from elastic_yolo.detector.saliency.saliency_sum import SaliencySum, to_grid
from elastic_yolo.detector.saliency.target import Target
from tests.detector.saliency import oracle

# float32 boxes and scores.
TOLERANCE = 1e-5


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 30))
def test_the_weight_is_the_best_iou_times_score_of_the_class(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 100, (count + 1, 4)).astype(np.float32)
    boxes = np.hstack([np.minimum(corners[:, :2], corners[:, 2:])] + [corners.max(1)[:, None]] * 2)
    scores = random.random((count, 1)).astype(np.float32)
    classes = random.integers(0, 3, (count, 1))
    rows = np.hstack([boxes[1:], scores, classes]).astype(np.float32)

    weight = Target(1, boxes[0].astype(np.float32)).weigh(rows)

    assert weight == pytest.approx(oracle.weigh(rows, 1, boxes[0]), abs=TOLERANCE)
    assert 0 <= weight <= 1


def test_the_object_itself_overlaps_by_half_and_has_the_same_class() -> None:
    target = Target(2, np.array([0, 0, 10, 10], np.float32))
    same, shifted, other = [0, 0, 10, 9, 0.7, 2], [6, 0, 16, 10, 0.9, 2], [0, 0, 10, 10, 1, 1]

    assert target.find_score(np.array([same, shifted, other], np.float32)) == pytest.approx(0.7)
    assert target.find_score(np.array([shifted, other], np.float32)) is None
    assert target.find_score(np.empty((0, 6), np.float32)) is None


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_the_map_is_the_weight_that_each_place_adds(seed: int, count: int) -> None:
    """In whatever order the predictions arrive."""
    random = np.random.default_rng(seed)
    drawn = Masks((13, 9), 4, 0.5, seed)
    masks = [drawn.draw(number) for number in range(count)]
    weights = random.random(count).tolist()
    sums = SaliencySum((13, 9))

    for number in random.permutation(count):
        sums.add(masks[number], weights[number])

    assert sums.count == count
    assert np.abs(sums.to_map() - oracle.saliency(masks, weights)).max() <= 1e-4


def test_a_place_that_alone_decides_the_score_has_the_highest_value() -> None:
    """The score is what is visible of one place; the map is about 0 far from it."""
    masks = Masks((40, 30), 5, 0.5, seed=0)
    sums = SaliencySum((40, 30))
    for number in range(2000):
        mask = masks.draw(number)
        sums.add(mask, float(mask[8, 31]))

    saliency = sums.to_map()

    row, column = np.unravel_index(saliency.argmax(), saliency.shape)
    assert abs(row - 8) < 2
    assert abs(column - 31) < 2
    assert saliency.max() > 0.4
    assert np.abs(saliency[20:, :20]).max() < 0.1


def test_a_score_that_nothing_changes_gives_a_map_of_zeros() -> None:
    sums = SaliencySum((6, 4))
    for number in range(60):
        sums.add(Masks((6, 4), 2, 0.5, 0).draw(number), 0.25)

    assert np.abs(sums.to_map()).max() < 1e-6


@pytest.mark.parametrize(
    ("size", "cells"), [((120, 90), (16, 12)), ((1, 9), (2, 16)), ((300, 4), (16, 1))]
)
def test_a_grid_has_the_aspect_of_its_map_and_its_mean(
    size: tuple[int, int], cells: tuple[int, int]
) -> None:
    width, height = size
    saliency = np.tile(np.linspace(-1, 1, height, dtype=np.float32)[:, None], (1, width))

    grid = to_grid(saliency)

    assert grid.shape == (cells[1], cells[0])
    assert grid.mean() == pytest.approx(0, abs=1e-3)
    assert (np.diff(grid[:, 0]) > 0).all()


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_the_best_part_has_no_lower_value_than_the_rest(seed: int, part: float) -> None:
    saliency = np.random.default_rng(seed).integers(0, 9, (7, 11)).astype(np.float32)

    hidden, alone = Ranking(saliency).without_best(part), Ranking(saliency).best_alone(part)

    assert np.array_equal(hidden + alone, np.ones((7, 11)))
    assert alone.sum() == round(part * 77)
    if 0 < alone.sum() < 77:
        assert saliency[alone == 1].min() >= saliency[alone == 0].max()


def test_the_area_under_a_curve_is_that_of_its_trapezoids() -> None:
    parts, scores = np.array([0, 0.1, 0.5, 1]), np.array([1, 0.5, 0.1, 0])

    assert area_under(parts, scores) == pytest.approx(0.075 + 0.12 + 0.025)


def test_a_heat_map_is_transparent_where_nothing_matters() -> None:
    """A grid of 3 x 4 cells over the middle of a picture."""
    grid = np.full((3, 4), -0.2, np.float32)
    grid[:, 2] = 0.5
    corners = np.array([20, 10, 60, 40], np.float32)

    drawn = np.asarray(Image.open(io.BytesIO(to_png(grid, corners, (80, 60)))))

    assert drawn.shape == (60, 80, 4)
    outside = np.ones((60, 80), bool)
    outside[5:45, 15:65] = False
    assert (drawn[outside, 3] == 0).all()
    assert drawn[25, 44:46, 3].min() > 200
    assert (drawn[15:35, 20:35, 3] == 0).all()
    red, green, blue = drawn[25, 45, :3].tolist()  # the light yellow that inferno ends in
    assert red > 220
    assert green > 220
    assert blue < 200


def test_a_heat_map_of_a_large_picture_is_smaller() -> None:
    corners = np.array([0, 0, 8000, 6000], np.float32)
    png = to_png(np.ones((3, 4), np.float32), corners, (8000, 6000))

    drawn = np.asarray(Image.open(io.BytesIO(png)))

    assert drawn.shape == (1440, 1920, 4)
    assert (drawn[400:1000, 500:1500, 3] == 217).all()
