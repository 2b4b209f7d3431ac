"""Draw labelled boxes into the pixels of a picture, and encode them.

Needs OpenCV, simplejpeg and uharfbuzz.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from elastic_yolo.picture.captions import Mask, draw_text
from elastic_yolo.picture.drawn_types import JPEG, check_drawable
from elastic_yolo.picture.errors import PictureNotDrawable

LabelledBox = tuple[str, float, Sequence[float]]
"""Label, score, [centre x, centre y, width, height] in pixels of the upright picture."""
Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]
"""Red, green, blue."""

_JPEG_QUALITY = 90


def draw_boxes(pixels: Pixels, found: Sequence[LabelledBox], media_type: str) -> bytes:
    """Draw labelled boxes into (h, w, 3) uint8 RGB, and return it encoded as `media_type`.

    The pixels are changed, because a large picture should not be in memory twice. Raises
    PictureNotDrawable if there is no such file of this size.
    """
    height, width, _ = pixels.shape
    check_drawable((width, height), media_type)
    line = max(2, round(min(width, height) / 200))
    for label, score, box in reversed(found):
        colour = colour_of(label)
        left, top = draw_box(pixels, box, colour, line)
        text = draw_text([label, f" {score:.2f}"], max(11, line * 5))
        draw_caption(pixels, (left, top), text, colour)
    return encode(pixels, media_type)


def draw_box(pixels: Pixels, box: Sequence[float], colour: Colour, line: int) -> tuple[int, int]:
    """Draw a box, `line` pixels wide inside its edges, and return its left upper corner."""
    height, width, _ = pixels.shape
    x, y, box_width, box_height = box
    # What is outside is not drawn; just beyond the border, edges are as far away as anywhere.
    left, right = (
        int(min(max(at, -line), width + line)) for at in (x - box_width / 2, x + box_width / 2)
    )
    top, bottom = (
        int(min(max(at, -line), height + line)) for at in (y - box_height / 2, y + box_height / 2)
    )
    for area in (
        (left, top, right + 1, top + line),
        (left, bottom + 1 - line, right + 1, bottom + 1),
        (left, top, left + line, bottom + 1),
        (right + 1 - line, top, right + 1, bottom + 1),
    ):
        fill(pixels, area, colour)
    return left, top


def fill(pixels: Pixels, area: tuple[int, int, int, int], colour: Colour) -> None:
    """Fill an area: left, top, and what is right of it and below it. It may leave the picture."""
    left, top, right, bottom = (max(0, at) for at in area)
    pixels[top:bottom, left:right] = colour


def draw_caption(pixels: Pixels, corner: tuple[int, int], text: Mask, colour: Colour) -> None:
    """Draw black text on an area of a colour, inside the picture if it fits there."""
    margin = caption_margin(text)
    height, width = (size + 2 * margin for size in text.shape)
    x = max(0, min(corner[0], pixels.shape[1] - width))
    y = max(0, min(corner[1], pixels.shape[0] - height))
    fill(pixels, (x, y, x + width, y + height), colour)
    draw_mask(pixels, (x + margin, y + margin), text, (0, 0, 0))


def caption_margin(text: Mask) -> int:
    """Return the pixels between a text and the edge of its caption."""
    return max(1, int(text.shape[0]) // 6)


def draw_mask(pixels: Pixels, corner: tuple[int, int], text: Mask, colour: Colour) -> None:
    """Draw text in a colour; what is outside of the picture is cut off."""
    x, y = corner
    below = pixels[y : y + text.shape[0], x : x + text.shape[1]]
    cover = text[: below.shape[0], : below.shape[1], None].astype(np.uint16)
    mixed = below * (255 - cover) + np.array(colour, np.uint16) * cover
    below[:] = (mixed + 127) // 255


def encode(pixels: Pixels, media_type: str) -> bytes:
    """Return (h, w, 3) uint8 RGB as a file; a PNG leaves the pixels in another order.

    Raises PictureNotDrawable.
    """
    if media_type == JPEG:
        return bytes(
            simplejpeg.encode_jpeg(
                pixels, quality=_JPEG_QUALITY, colorspace="RGB", colorsubsampling="420"
            )
        )
    try:
        done, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR, dst=pixels))
    except cv2.error:
        done = False
    if not done:
        raise PictureNotDrawable("the drawn picture cannot be encoded as PNG")
    return encoded.tobytes()


def colour_of(label: str) -> Colour:
    """Return the RGB colour of a label: bright, and the same in every process."""
    hue = zlib.crc32(label.encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
