"""Letterboxing and stretching pictures, and mapping boxes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.placement import (
    FILL,
    InputFormat,
    Placement,
    draw_input,
    resize,
    resize_exactly,
    turn_upright,
)
from elastic_yolo.names import RESIZES, Resize
from elastic_yolo.picture.header import read_header
from tests.support.pictures import encode, plain, store_turned

LETTERBOX = InputFormat((416, 416), "letterbox")
resizes = st.sampled_from(RESIZES)
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


@given(widths, heights, resizes, st.integers(0, 2**32 - 1))
def test_a_box_comes_back_from_the_network_where_it_was(
    w: int, h: int, resize: Resize, seed: int
) -> None:
    """For pictures from 1x1 to 8000 pixels on a side, also 8000x3."""
    place = Placement.fit((w, h), InputFormat((416, 352), resize))
    corners = np.random.default_rng(seed).uniform(0, 1, (20, 4)) * [w, h, w, h]

    back = place.to_picture(place.to_network(corners.astype(np.float32)))

    assert np.abs(back - corners).max() < 0.01


@given(widths, heights)
def test_the_inner_picture_is_darknets(w: int, h: int) -> None:
    place = Placement.fit((w, h), LETTERBOX)

    # src/image.c, letterbox_image, in C's integer arithmetic; 0 there is a crash, 1 here
    wide = 416 / w < 416 / h
    expected = (416, h * 416 // w) if wide else (w * 416 // h, 416)
    assert place.inner == (max(1, expected[0]), max(1, expected[1]))


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
    resizes,
    st.tuples(*[st.floats(0.0, 1.0)] * 4),
)
def test_a_drawn_rectangle_comes_back_within_a_pixel(
    w: int, h: int, orientation: int, resize: Resize, at: tuple[float, float, float, float]
) -> None:
    """With a real file in each Exif orientation; the tolerance is a pixel of the coarser grid.

    One pixel of the network's grid is what sampling can lose where the picture shrinks.
    """
    x1, y1 = int(at[0] * w * 0.6), int(at[1] * h * 0.6)
    x2 = x1 + max(8, int(at[2] * w * 0.4))
    y2 = y1 + max(8, int(at[3] * h * 0.4))
    upright = plain(w, h, (0, 0, 0))
    upright[y1:y2, x1:x2] = 255
    x2, y2 = min(x2, w), min(y2, h)
    data = encode(store_turned(upright, orientation), "PNG", orientation)

    header = read_header(data)
    place = Placement.fit(header.upright_size, InputFormat((416, 416), resize))
    image = draw_input(decode(data, header, place.inner), header.orientation, place)
    if resize == "letterbox":
        image[image == FILL] = 0
    found = place.to_picture(find_rectangle(image))[0]

    coarser = max(1.0, w / place.inner[0], h / place.inner[1])
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
    place = Placement.fit((w, h), LETTERBOX)

    image = draw_input(plain(w, h, (10, 20, 30)), 1, place)

    assert image.shape == (416, 416, 3)
    x, y = place.corner
    assert image[y, x].tolist() == [10, 20, 30]
    assert (image == FILL).all(axis=2).sum() == 416 * 416 - place.inner[0] * place.inner[1]


@pytest.mark.parametrize(("w", "h"), [(1, 1), (8000, 3), (3, 8000), (416, 320), (40_000, 1)])
@pytest.mark.parametrize("exact", [False, True])
def test_a_stretched_picture_fills_the_input(w: int, h: int, exact: bool) -> None:
    place = Placement.fit((w, h), InputFormat((416, 320), "stretch"))

    image = draw_input(plain(w, h, (10, 20, 30)), 1, place, exact=exact)

    assert image.shape == (320, 416, 3)
    assert (image == (10, 20, 30)).all()


@settings(max_examples=40)
@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 200), st.integers(1, 200),
    st.integers(1, 8), st.booleans(),
)  # fmt: skip
def test_stretching_is_what_opencv_does_before_a_network(
    w: int, h: int, to_w: int, to_h: int, orientation: int, exact: bool
) -> None:
    """To the last grey level: cv2.dnn.blobFromImage of the stored pixels, then turned upright."""
    stored = np.random.default_rng(w * h).integers(0, 256, (h, w, 3), dtype=np.uint8)
    turned = orientation >= 5
    place = Placement.fit((h, w) if turned else (w, h), InputFormat((to_w, to_h), "stretch"))

    image = draw_input(stored, orientation, place, exact=exact)

    blob = cv2.dnn.blobFromImage(stored, size=(to_h, to_w) if turned else (to_w, to_h))
    expected = turn_upright(np.ascontiguousarray(blob[0].transpose(1, 2, 0)), orientation)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, expected)


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_a_stretched_box_keeps_its_fractions_of_the_picture(w: int, h: int) -> None:
    """As in OpenCV's DetectionModel, which multiplies fractions with the picture's size."""
    place = Placement.fit((w, h), InputFormat((416, 320), "stretch"))

    found = place.to_picture(np.array([[0, 0, 416, 320], [104, 160, 208, 320]], np.float32))

    assert np.allclose(found, [[0, 0, w, h], [w / 4, h / 2, w / 2, h]], atol=1e-3)
