"""Boxes drawn into pictures."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from elastic_yolo.picture.drawing import draw_boxes
from tests.support.pictures import encode, store_turned

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 4), dtype=np.uint8)
DEEP_GREY = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
DEEP_COLOUR = np.random.default_rng(1).integers(0, 65_536, (30, 40, 4), dtype=np.uint16)


def save(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def draw_nothing(data: bytes) -> np.ndarray:
    """Return the pixels of a picture that was drawn without a box."""
    return np.asarray(Image.open(io.BytesIO(draw_boxes(data, [], "image/png"))))


def decode_8_bit(data: bytes) -> np.ndarray:
    """Return the pixels as the detector sees them."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_drawn_upright(orientation: int) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    stored = encode(store_turned(upright, orientation), "PNG", orientation)

    drawn = Image.open(io.BytesIO(draw_boxes(stored, [], "image/png")))

    assert np.array_equal(np.asarray(drawn), upright)


def test_a_box_is_drawn_where_it_is() -> None:
    picture = encode(np.zeros((200, 300, 3), np.uint8))

    drawn = draw_boxes(picture, [("cat", 0.9, [150, 100, 100, 80])], "image/png")

    bright = np.asarray(Image.open(io.BytesIO(drawn))).any(axis=2)
    assert bright[100, 100]
    assert bright[139, 150]
    assert not bright[100, 150]
    assert not bright[150, 150]


def test_sixteen_bits_of_grey_are_drawn_as_eight() -> None:
    """All 65,536 levels: dark stays dark, and white stays white."""
    data = save(Image.fromarray(DEEP_GREY))

    drawn = draw_nothing(data)

    assert np.array_equal(drawn, decode_8_bit(data))
    assert np.array_equal(drawn[..., 0], DEEP_GREY // 256)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colour_are_drawn_as_eight(channels: int) -> None:
    data = cv2.imencode(".png", DEEP_COLOUR[..., :channels])[1].tobytes()

    assert np.array_equal(draw_nothing(data), decode_8_bit(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_every_colour_mode_is_drawn_as_the_detector_sees_it(mode: str, kind: str) -> None:
    """Transparency is dropped, and the colours stay."""
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = save(Image.fromarray(NOISE).convert(mode), kind, **options)

    assert np.array_equal(draw_nothing(data), decode_8_bit(data))


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("LA", None), ("L", 7), ("RGB", (1, 2, 3)), ("P", bytes(range(256))), ("P", 3)],
)
def test_transparency_of_a_png_hides_nothing(mode: str, transparency: object) -> None:
    options = {} if transparency is None else {"transparency": transparency}
    data = save(Image.fromarray(NOISE).convert(mode), **options)

    assert np.array_equal(draw_nothing(data), decode_8_bit(data))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_a_jpeg_in_other_colour_spaces_is_drawn_in_its_colours(mode: str) -> None:
    """Pillow and OpenCV round differently when they convert CMYK to RGB."""
    data = save(Image.fromarray(NOISE).convert("RGB").convert(mode), "JPEG", quality=95)

    difference = np.abs(draw_nothing(data).astype(int) - decode_8_bit(data))

    assert difference.max() <= 1
