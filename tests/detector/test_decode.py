"""Decoding at a reduced size: when it applies, and its effect on pixels."""

from __future__ import annotations

import numpy as np
import pytest

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.names import RESIZES, Resize
from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import PictureHeader, read_header
from tests.support.pictures import encode, store_turned


def smooth(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (60 + 20 * c)) * np.cos(y / (50 + 30 * c)) for c in range(3)]
    return (127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2400, 1800), (2400, 1800)),
        ((2496, 1872), (1248, 936)),
        ((5000, 3750), (1250, 938)),
        ((10_001, 800), (1251, 100)),
    ],
)
def test_a_jpeg_keeps_three_times_the_networks_size(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """Libjpeg rounds reduced sizes up."""
    data = encode(smooth(*size), "JPEG")
    header = read_header(data)
    place = Placement.fit(size, InputFormat((416, 416), "letterbox"))

    height, width, _ = decode(data, header, place.inner).shape

    assert (width, height) == expected


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_reduced_decoding_changes_pixels_by_a_few_grey_levels(
    orientation: int, resize: Resize
) -> None:
    upright = smooth(3400, 2550)
    data = encode(store_turned(upright, orientation), "JPEG", orientation, quality=95)
    header = read_header(data)
    place = Placement.fit(header.upright_size, InputFormat((416, 416), resize))

    reduced = draw_input(decode(data, header, place.inner), orientation, place)
    exact = draw_input(decode(data, header), orientation, place)

    difference = np.abs(reduced.astype(int) - exact)
    assert difference.mean() < 1.5
    assert difference.max() <= 12


def test_other_formats_are_decoded_whole() -> None:
    data = encode(smooth(1700, 1300), "PNG", compress_level=0)

    assert decode(data, read_header(data), (416, 318)).shape == (1300, 1700, 3)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "I;16"])
def test_every_colour_mode_of_a_png_becomes_rgb(mode: str) -> None:
    import io  # noqa: PLC0415

    from PIL import Image  # noqa: PLC0415

    target = io.BytesIO()
    Image.new(mode, (12, 9)).save(target, "PNG")
    data = target.getvalue()

    pixels = decode(data, read_header(data))

    assert (pixels.shape, pixels.dtype) == ((9, 12, 3), np.uint8)


def test_colours_are_red_green_blue() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:] = (200, 100, 50)
    data = encode(picture)

    assert decode(data, read_header(data))[0, 0].tolist() == [200, 100, 50]


def test_bytes_that_do_not_decode_are_refused() -> None:
    with pytest.raises(PictureUndecodable, match="image/webp file does not decode"):
        decode(b"RIFF....WEBP" + bytes(50), PictureHeader("image/webp", 10, 10))
