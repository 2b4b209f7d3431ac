"""A saliency map as numbers for a program, and as a transparent picture for a person."""

from __future__ import annotations

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Floats

# Of the longer side. A map is smooth: its masks have cells of many pixels.
_MOST_CELLS = 32
_MOST_PIXELS = 1920
_OPAQUE = 217  # 85 %: the picture below can still be seen
# Smaller values are drawn like all others, and a map of noise alone is not blown up.
_FAINTEST = 1e-6


def to_grid(saliency: Floats, picture: tuple[int, int]) -> Floats:
    """Return the map averaged over cells; a picture's longer side, (width, height), has 32."""
    size = _fit(picture, _MOST_CELLS)
    # Upwards first, so that every cell averages the same number of pixels.
    fine = cv2.resize(saliency, (size[0] * 16, size[1] * 16), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.float32)


def to_png(saliency: Floats, picture: tuple[int, int]) -> bytes:
    """Return the map as a PNG with the size of the picture, (width, height), 1920 at most.

    Colours are those of `inferno`, which is perceptually uniform, from 0 to the map's highest
    value. The higher the value, the more opaque; places of 0 and below are transparent.
    """
    size = _fit(picture, _MOST_PIXELS, enlarge=False)
    large = cv2.resize(saliency, size, interpolation=cv2.INTER_LINEAR)
    scaled = np.clip(large / max(float(saliency.max()), _FAINTEST), 0, 1)
    levels = np.rint(scaled * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    alpha = np.rint(scaled * _OPAQUE).astype(np.uint8)
    _, encoded = cv2.imencode(".png", np.dstack([colours, alpha]))
    return encoded.tobytes()


def _fit(picture: tuple[int, int], longest: int, *, enlarge: bool = True) -> tuple[int, int]:
    """Return (width, height) with the picture's aspect and `longest` as the longer side."""
    width, height = picture
    scale = longest / max(width, height)
    if scale > 1 and not enlarge:
        return picture
    return max(1, round(width * scale)), max(1, round(height * scale))
