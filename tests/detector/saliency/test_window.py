"""The window of a box: where it lies, and what hiding does to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.placement import FILL, Placement
from elastic_yolo.detector.saliency.window import Window

LETTERBOX = InputFormat((416, 416), "letterbox")
sides = st.integers(1, 2000)
places = st.floats(-3000, 3000, width=32)


def box_of(*corners: float) -> np.ndarray:
    return np.array(corners, np.float32)


def test_a_window_is_twice_as_wide_and_as_high_as_its_box() -> None:
    place = Placement.fit((640, 480), LETTERBOX)

    assert Window.around(box_of(100, 150, 140, 170), place) == Window(80, 140, 80, 40)


def test_a_window_ends_at_the_picture_not_in_the_margin() -> None:
    """The picture of 640x480 takes the rows 52 to 364 of 416."""
    place = Placement.fit((640, 480), LETTERBOX)

    assert Window.around(box_of(0, 60, 100, 100), place) == Window(0, 52, 150, 68)


@given(sides, sides, st.tuples(places, places, places, places))
def test_a_window_always_lies_in_the_picture_and_is_never_empty(
    width: int, height: int, corners: tuple[float, ...]
) -> None:
    place = Placement.fit((width, height), LETTERBOX)
    x1, y1, x2, y2 = corners
    box = box_of(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))

    window = Window.around(box, place)

    assert window.width >= 1
    assert window.height >= 1
    for begin, side, at, size in zip(
        (window.x, window.y), (window.width, window.height), place.corner, place.inner, strict=True
    ):
        assert at <= begin
        assert begin + side <= at + size


@settings(max_examples=25)
@given(st.integers(0, 20), st.integers(0, 12), st.integers(1, 11), st.integers(1, 11))
def test_hiding_fades_the_window_to_grey_and_nothing_else(
    x: int, y: int, width: int, height: int
) -> None:
    random = np.random.default_rng(x * 100 + y)
    image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    mask = random.random((height, width)).astype(np.float32)

    hidden = Window(x, y, width, height).hide(image, mask)

    for row in range(24):
        for column in range(32):
            inside = y <= row < y + height and x <= column < x + width
            part = float(mask[row - y, column - x]) if inside else 1.0
            exact = FILL + (image[row, column].astype(float) - FILL) * part
            assert np.abs(hidden[row, column] - exact).max() <= 0.5 + 1e-4
    assert hidden.dtype == np.uint8


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 8x9"):
        Window(0, 0, 9, 8).hide(np.zeros((24, 32, 3), np.uint8), np.ones((5, 5), np.float32))
