"""Draw labelled boxes into a picture. Needs Pillow."""

from __future__ import annotations

import colorsys
import io
import zlib

from PIL import Image, ImageDraw, ImageFont

from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import read_header

LabelledBox = tuple[str, float, list[float]]
"""Label, score, [centre x, centre y, width, height] in pixels of the upright picture."""

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Pillow's limit is only a warning; callers have checked the header against their own limit.
Image.MAX_IMAGE_PIXELS = None


def draw_boxes(data: bytes, found: list[LabelledBox], media_type: str) -> bytes:
    """Return the upright picture with labelled boxes, encoded as `media_type`, a key of FORMATS.

    Raises PictureUndecodable.
    """
    picture = open_upright(data)
    line = max(2, round(min(picture.size) / 200))
    font = ImageFont.load_default(size=max(11, line * 5))
    draw = ImageDraw.Draw(picture)
    for label, score, (cx, cy, width, height) in reversed(found):
        left, top = cx - width / 2, cy - height / 2
        colour = colour_of(label)
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=line)
        text = f"{label} {score:.2f}"
        # The caption stays inside the picture if the box leaves it at the top or the left.
        anchor = (max(0.0, left), max(0.0, top))
        draw.rectangle(draw.textbbox(anchor, text, font=font), fill=colour)
        draw.text(anchor, text, fill="black", font=font)
    encoded = io.BytesIO()
    picture.save(encoded, FORMATS[media_type], quality=90)
    return encoded.getvalue()


def open_upright(data: bytes) -> Image.Image:
    """Open a picture and apply the orientation of `read_header`, which the boxes are based on.

    Raises PictureUndecodable.
    """
    turn = _TURNS.get(read_header(data).orientation)
    try:
        picture = _to_rgb(Image.open(io.BytesIO(data)))
    except (OSError, SyntaxError, ValueError) as error:
        raise PictureUndecodable("the picture cannot be decoded for drawing") from error
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Return the colours as the detector sees them: 8 bits each, without transparency."""
    if picture.mode == "I;16":
        # Pillow alone clips 16-bit values at 255, which makes nearly everything white.
        picture = picture.point(lambda grey: grey * (1 / 256))
    # Pillow warns when convert() drops transparency.
    picture.info.pop("transparency", None)
    return picture.convert("RGB")


def colour_of(label: str) -> tuple[int, int, int]:
    """Return the RGB colour of a label: bright, and the same in every process."""
    hue = zlib.crc32(label.encode()) % 360 / 360
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
