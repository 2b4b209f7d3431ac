"""Boxes drawn into pixels, and the files that they are encoded as."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from elastic_yolo.picture.drawing import colour_of, draw_boxes
from elastic_yolo.picture.drawn_types import FORMATS, check_drawable
from elastic_yolo.picture.errors import PictureNotDrawable
from tests.support.pictures import plain


def drawn(
    pixels: np.ndarray, *found: tuple[str, float, list[float]], kind: str = "image/png"
) -> np.ndarray:
    data = draw_boxes(pixels.copy(), found, kind)
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def black(width: int, height: int) -> np.ndarray:
    return plain(width, height, (0, 0, 0))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_picture_without_boxes_keeps_its_size_and_type(kind: str) -> None:
    data = draw_boxes(plain(33, 17), [], kind)

    picture = Image.open(io.BytesIO(data))
    assert picture.get_format_mimetype() == kind
    assert picture.size == (33, 17)


def test_a_png_has_the_pixels_that_were_drawn_on() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)

    assert np.array_equal(drawn(noise), noise)


def test_a_jpeg_has_the_colours_that_were_drawn_on() -> None:
    assert np.abs(drawn(plain(40, 30), kind="image/jpeg") - (90, 120, 60)).max() <= 2


def test_a_box_is_drawn_where_it_is() -> None:
    bright = drawn(black(300, 200), ("cat", 0.9, [150, 100, 100, 80])).any(axis=2)

    assert bright[100, 100]
    assert bright[139, 150]
    assert not bright[100, 150]
    assert not bright[150, 150]


@pytest.mark.parametrize("box", [[1e9, 1e9, 10, 10], [20, 15, 1e9, 1e9], [-5, -5, 30, 30]])
def test_a_box_may_leave_the_picture(box: list[float]) -> None:
    assert drawn(plain(40, 30), ("cat", 0.9, box)).shape == (30, 40, 3)


@pytest.mark.parametrize("corner", [(0, 0), (299, 0), (0, 199), (299, 199)])
def test_a_caption_stays_inside_the_picture(corner: tuple[int, int]) -> None:
    """All of it, wherever the box is: the area has the colour of the label, less the letters."""
    middle = drawn(black(300, 200), ("cat", 0.9, [150, 100, 0, 0]))
    edge = drawn(black(300, 200), ("cat", 0.9, [*corner, 0, 0]))

    def area(picture: np.ndarray) -> int:
        return int((picture == colour_of("cat")).all(axis=2).sum())

    # The box itself is a dot of a few pixels.
    assert area(edge) == pytest.approx(area(middle), abs=9)


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3), (8, 66_000)])
def test_any_shape_of_picture_is_drawn(size: tuple[int, int]) -> None:
    assert drawn(plain(*size), ("traffic light", 0.5, [0, 0, 9, 9])).shape == (*size[::-1], 3)


@pytest.mark.parametrize("size", [(8, 65_501), (65_501, 8)])
def test_a_jpeg_of_more_pixels_than_the_format_has_is_refused(size: tuple[int, int]) -> None:
    check_drawable((8, 65_500), "image/jpeg")
    check_drawable(size, "image/png")
    with pytest.raises(PictureNotDrawable, match=r"at most 65,500 pixels.*ask for image/png"):
        draw_boxes(plain(*size), [], "image/jpeg")
