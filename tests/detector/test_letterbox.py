"""Letterboxing, and mapping boxes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.letterbox import (
    FILL,
    Letterbox,
    draw_letterbox,
    resize,
    resize_exactly,
    turn_upright,
)
from elastic_yolo.picture.header import read_header
from tests.support.pictures import encode, plain, store_turned

NETWORK = (416, 416)
widths = st.one_of(st.integers(1, 700), st.just(8000))
heights = st.one_of(st.integers(1, 700), st.just(8000), st.just(3))


def resize_as_darknet(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """resize_image of Darknet's src/image.c, in floating point."""

    def taps(size: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.arange(size) * ((source - 1) / (size - 1) if size > 1 else 0)
        if size == 1:
            at[:] = source - 1
        low = np.minimum(at.astype(int), source - 1)
        return low, np.minimum(low + 1, source - 1), at - low

    (x0, x1, fx), (y0, y1, fy) = taps(width, pixels.shape[1]), taps(height, pixels.shape[0])
    part = pixels[:, x0] * (1 - fx)[:, None] + pixels[:, x1] * fx[:, None]
    return part[y0] * (1 - fy)[:, None, None] + part[y1] * fy[:, None, None]


@given(widths, heights, st.integers(0, 2**32 - 1))
def test_a_box_comes_back_from_the_network_where_it_was(w: int, h: int, seed: int) -> None:
    """For pictures from 1x1 to 8000 pixels on a side, also 8000x3."""
    box = Letterbox.fit((w, h), NETWORK)
    corners = np.random.default_rng(seed).uniform(0, 1, (20, 4)) * [w, h, w, h]

    back = box.to_picture(box.to_network(corners.astype(np.float32)))

    assert np.abs(back - corners).max() < 0.01


@given(widths, heights)
def test_the_inner_picture_is_darknets(w: int, h: int) -> None:
    box = Letterbox.fit((w, h), NETWORK)

    # src/image.c, letterbox_image, in C's integer arithmetic; 0 there is a crash, 1 here
    wide = 416 / w < 416 / h
    expected = (416, h * 416 // w) if wide else (w * 416 // h, 416)
    assert box.inner == (max(1, expected[0]), max(1, expected[1]))


def find_rectangle(inner: np.ndarray) -> np.ndarray:
    """Return (1, 4) float32 x1 y1 x2 y2 of the bright region, in whole pixels."""
    rows, columns = np.nonzero(inner[:, :, 0] > 127)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([edges], np.float32)


@settings(max_examples=60)
@given(
    st.integers(20, 500),
    st.integers(20, 500),
    st.integers(1, 8),
    st.tuples(*[st.floats(0.0, 1.0)] * 4),
)
def test_a_drawn_rectangle_comes_back_within_a_pixel(
    w: int, h: int, orientation: int, place: tuple[float, float, float, float]
) -> None:
    """With a real file in each Exif orientation; the tolerance is a pixel of the coarser grid.

    One pixel of the network's grid is what sampling can lose where the picture shrinks.
    """
    x1, y1 = int(place[0] * w * 0.6), int(place[1] * h * 0.6)
    x2 = x1 + max(8, int(place[2] * w * 0.4))
    y2 = y1 + max(8, int(place[3] * h * 0.4))
    upright = plain(w, h, (0, 0, 0))
    upright[y1:y2, x1:x2] = 255
    x2, y2 = min(x2, w), min(y2, h)
    data = encode(store_turned(upright, orientation), "PNG", orientation)

    header = read_header(data)
    box = Letterbox.fit(header.upright_size, NETWORK)
    image = draw_letterbox(decode(data, header, box.inner), header.orientation, box)
    image[image == FILL] = 0
    found = box.to_picture(find_rectangle(image))[0]

    coarser = max(1.0, w / box.inner[0], h / box.inner[1])
    assert np.abs(found - [x1, y1, x2, y2]).max() <= coarser + 1e-3


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_resampling_is_darknets_within_a_few_grey_levels(
    w: int, h: int, to_w: int, to_h: int
) -> None:
    """Sample positions are exact to 1/64 of a source pixel: on noise, at most 8 of 255."""
    pixels = np.random.default_rng(w * h).integers(0, 256, (h, w, 3), dtype=np.uint8)

    ours = resize(pixels, (to_w, to_h))

    assert np.abs(ours - resize_as_darknet(pixels, to_w, to_h)).max() <= 9


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_exact_resampling_is_darknets_to_the_last_digit(
    w: int, h: int, to_w: int, to_h: int
) -> None:
    pixels = np.random.default_rng(w * h).integers(0, 256, (h, w, 3), dtype=np.uint8)

    ours = resize_exactly(pixels, (to_w, to_h))

    assert ours.dtype == np.float32
    assert np.abs(ours - resize_as_darknet(pixels, to_w, to_h)).max() <= 0.01


@pytest.mark.parametrize("size", [(60_000, 1), (1, 40_000), (32_767, 5)])
def test_sides_beyond_opencvs_limit_are_resampled(size: tuple[int, int]) -> None:
    width, height = size

    small = resize(plain(width, height, (10, 20, 30)), (416, 3))

    assert small.shape == (3, 416, 3)
    assert small[1, 200].tolist() == [10, 20, 30]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 8))
def test_turn_upright_inverts_the_orientation(w: int, h: int, orientation: int) -> None:
    upright = np.random.default_rng(w + h).integers(0, 256, (h, w, 3), dtype=np.uint8)

    turned = turn_upright(store_turned(upright, orientation), orientation)

    assert np.array_equal(turned, upright)


@pytest.mark.parametrize(("w", "h"), [(1, 1), (8000, 3), (3, 8000), (416, 416), (417, 416)])
def test_margins_are_grey_and_the_input_is_full_size(w: int, h: int) -> None:
    box = Letterbox.fit((w, h), NETWORK)

    image = draw_letterbox(plain(w, h, (10, 20, 30)), 1, box)

    assert image.shape == (416, 416, 3)
    x, y = box.corner
    assert image[y, x].tolist() == [10, 20, 30]
    assert (image == FILL).all(axis=2).sum() == 416 * 416 - box.inner[0] * box.inner[1]
