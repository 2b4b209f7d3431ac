"""Decode a picture file into pixels, at a reduced size where the network needs no more."""

from __future__ import annotations

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import PictureHeader

# A reduced JPEG stays at least this many times larger than in the network's input. The effect on
# scores and boxes is measured in tests/detector/test_decode.py and documented in docs/accuracy.md.
REDUCED_MARGIN = 3

_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


def decode(data: bytes, header: PictureHeader, needed: tuple[int, int] | None = None) -> Pixels:
    """Return (h, w, 3) uint8 RGB as stored: the Exif orientation is not applied.

    `needed` is the upright (width, height) that the picture will be resized to. A JPEG at least
    REDUCED_MARGIN times larger is decoded at 1/2, 1/4 or 1/8 of its size, which libjpeg does in a
    fraction of the time; without `needed` every pixel is decoded. Raises PictureUndecodable.
    """
    reduced = _REDUCED.get(_reduction(header, needed))
    flags = cv2.IMREAD_COLOR_RGB if reduced is None else reduced
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise PictureUndecodable(f"the {header.media_type} file does not decode") from error
    if pixels is None:
        raise PictureUndecodable(f"the {header.media_type} file does not decode")
    # OpenCV has no flag for a reduced size in RGB.
    rgb = pixels if reduced is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return np.asarray(rgb, np.uint8)


def _reduction(header: PictureHeader, needed: tuple[int, int] | None) -> int:
    if needed is None or header.media_type != "image/jpeg":
        return 1
    width, height = header.upright_size
    for factor in _REDUCED:
        if all(
            size >= factor * REDUCED_MARGIN * wanted
            for size, wanted in ((width, needed[0]), (height, needed[1]))
        ):
            return factor
    return 1
