"""Random masks: their values, and that they can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.saliency.masks import Masks
from elastic_yolo.detector.saliency.window import Window
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


@pytest.mark.parametrize(("window", "cell"), [((160, 160), 20), ((400, 16), 10), ((3, 1), 2)])
def test_a_window_has_about_eight_cells_along_each_side(window: tuple[int, int], cell: int) -> None:
    masks = Masks.of(Window(7, 9, *window), seed=4)

    assert masks == Masks(window, cell, 0.5, 4)
