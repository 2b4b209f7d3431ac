"""Decode picture files with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Pixels

_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


def decode_with_opencv(data: bytes, factor: int = 1) -> Pixels | None:
    """Return (h, w, 3) uint8 RGB as stored, or None if OpenCV cannot decode the file.

    A JPEG is decoded at 1 / `factor` of its size: 1, 2, 4 or 8.
    """
    flags = _REDUCED.get(factor, cv2.IMREAD_COLOR_RGB)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if pixels is not None and factor > 1:
        # OpenCV has no flag for a reduced size in RGB.
        pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return None if pixels is None else np.asarray(pixels, np.uint8)
