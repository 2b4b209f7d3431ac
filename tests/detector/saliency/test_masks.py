"""Random masks: their values, where they hide, and that they can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.placement import FILL, Placement
from elastic_yolo.detector.saliency.masks import Masks, hide
from tests.detector.saliency import oracle

TOLERANCE = 1e-5


def expected_mask(masks: Masks, number: int) -> np.ndarray:
    """Return a mask by the oracle's interpolation, from the same random numbers."""
    random = np.random.default_rng((masks.seed, number))
    width, height = masks.size
    shape = math.ceil(height / masks.cell) + 1, math.ceil(width / masks.cell) + 1
    grid = (random.random(shape) < masks.visible).astype(float)
    x, y = random.integers(masks.cell, size=2)
    return oracle.upsample(grid, masks.cell)[y : y + height, x : x + width]


@settings(max_examples=25)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    cell=st.integers(1, 12),
    number=st.integers(0, 5000),
)
def test_a_mask_is_a_grid_upsampled_bilinearly_and_shifted(
    width: int, height: int, cell: int, number: int
) -> None:
    masks = Masks((width, height), cell, 0.5, seed=3)

    mask = masks.draw(number)

    assert mask.shape == (height, width)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    assert np.abs(mask - expected_mask(masks, number)).max() <= TOLERANCE


def test_a_seed_and_a_number_give_the_same_mask_whatever_was_drawn_before() -> None:
    first = Masks((50, 40), 8, 0.5, seed=1)
    again = Masks((50, 40), 8, 0.5, seed=1)
    first.draw(0)

    assert np.array_equal(first.draw(7), again.draw(7))
    assert not np.array_equal(first.draw(7), first.draw(8))
    assert not np.array_equal(first.draw(7), Masks((50, 40), 8, 0.5, seed=2).draw(7))


@pytest.mark.parametrize("visible", [0.3, 0.5, 0.8])
def test_every_place_is_visible_in_the_same_part_of_the_masks(visible: float) -> None:
    masks = Masks((60, 45), 15, visible, seed=0)

    mean = np.mean([masks.draw(number) for number in range(2000)], axis=0)

    assert np.abs(mean - visible).max() < 0.05


@pytest.mark.parametrize(("box", "cell"), [((10, 10, 90, 90), 20), ((5, 5, 6, 6), 4)])
def test_small_boxes_get_small_cells(box: tuple[int, ...], cell: int) -> None:
    assert Masks.around(np.array(box, np.float32), (416, 312), 0).cell == cell


def test_a_box_beyond_the_picture_gets_a_cell_of_the_picture() -> None:
    assert Masks.around(np.array([-1e6, -1e6, 1e6, 1e6], np.float32), (40, 30), 0).cell == 40


@settings(max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["letterbox", "stretch"]))
def test_hiding_fades_the_picture_to_grey_and_leaves_the_margin(
    width: int, height: int, resize: str
) -> None:
    random = np.random.default_rng(width * 100 + height)
    place = Placement.fit((width, height), InputFormat((32, 24), resize))  # type: ignore[arg-type]
    image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mask = random.random(place.inner[::-1]).astype(np.float32)

    hidden = hide(image, place, mask)

    (x, y), (inner_width, inner_height) = place.corner, place.inner
    for row in range(24):
        for column in range(32):
            inside = y <= row < y + inner_height and x <= column < x + inner_width
            part = float(mask[row - y, column - x]) if inside else 1.0
            exact = FILL + (image[row, column].astype(float) - FILL) * part
            assert np.abs(hidden[row, column] - exact).max() <= 0.5 + TOLERANCE
    assert hidden.dtype == np.uint8


def test_a_mask_of_another_size_is_refused() -> None:
    place = Placement.fit((32, 24), InputFormat((32, 24), "letterbox"))

    with pytest.raises(ValueError, match="expected 24x32"):
        hide(np.zeros((24, 32, 3), np.uint8), place, np.ones((5, 5), np.float32))
