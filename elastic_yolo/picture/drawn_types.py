"""The media types in which a picture with boxes is returned, and their limits. Decodes nothing."""

from __future__ import annotations

from elastic_yolo.picture.errors import PictureNotDrawable

JPEG, PNG = "image/jpeg", "image/png"
FORMATS = (JPEG, PNG)

# libjpeg's limit on a side; the format's own is 65,535.
_MOST_JPEG_SIDE = 65_500

# Bytes for each pixel while a drawn picture is encoded: the pixels, and the file as it grows, of
# noise, which compresses worst.
_ENCODING = {JPEG: 6, PNG: 9}


def drawing_bytes(pixels: int, media_type: str) -> int:
    """Return the most memory that it takes to turn, draw and encode so many pixels, in bytes."""
    return pixels * _ENCODING[media_type]


def check_drawable(size: tuple[int, int], media_type: str) -> None:
    """Raise PictureNotDrawable if there is no file of this type with (width, height) pixels."""
    if media_type == JPEG and max(size) > _MOST_JPEG_SIDE:
        raise PictureNotDrawable(
            f"a JPEG has at most {_MOST_JPEG_SIDE:,} pixels on a side, the picture has "
            f"{size[0]:,} x {size[1]:,}: ask for {PNG}"
        )
