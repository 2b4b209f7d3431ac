"""A saliency map as a transparent picture that lies over the explained one."""

from __future__ import annotations

import cv2
import numpy as np

from elastic_yolo.detector.boxes import Floats

_MOST_PIXELS = 1920
_OPAQUE = 217  # 85 %: the picture below can still be seen
# Of noise alone; it is not blown up.
_FAINTEST = 1e-6


def to_png(saliency: Floats, corners: Floats, picture: tuple[int, int]) -> bytes:
    """Return a PNG of the picture's size, (width, height), whose longer side is 1920 at most.

    `saliency` is (rows, columns); `corners` are x1 y1 x2 y2 of what it covers in picture pixels.
    Colours are those of `inferno`, which is perceptually uniform, from 0 to the highest value of
    the map. The higher the value, the more opaque; values of 0 and below are transparent.
    """
    scale = min(1.0, _MOST_PIXELS / max(picture))
    width, height = (max(1, round(side * scale)) for side in picture)
    rows, columns = saliency.shape
    x1, y1, x2, y2 = (corners * scale).tolist()
    # Where the centre of each pixel lies among the centres of the map's.
    step_x, step_y = columns / (x2 - x1), rows / (y2 - y1)
    to_map = np.array(
        [
            [step_x, 0, (0.5 - x1) * step_x - 0.5],
            [0, step_y, (0.5 - y1) * step_y - 0.5],
        ]
    )
    scaled = np.clip(saliency / max(float(saliency.max()), _FAINTEST), 0, 1).astype(np.float32)
    large = cv2.warpAffine(
        scaled, to_map, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    levels = np.rint(np.clip(large, 0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    alpha = (levels.astype(np.uint16) * _OPAQUE // 255).astype(np.uint8)
    _, encoded = cv2.imencode(".png", np.dstack([colours, alpha]))
    return encoded.tobytes()
