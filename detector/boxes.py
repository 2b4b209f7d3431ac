"""Plain data that travels through the detector.

Arrays of detections are (n, 6) float32: x1 y1 x2 y2 score class, corners in pixels, best first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]

COLUMNS = 6
SCORE = 4
CLASS = 5


def no_detections() -> Floats:
    """Return an empty (0, 6) array of detections."""
    return np.empty((0, COLUMNS), np.float32)
