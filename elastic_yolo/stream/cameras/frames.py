"""Frames of videos as pixels."""

from __future__ import annotations

import av
import numpy as np

from elastic_yolo.detector.inputs import Frame


def upright_frame(frame: av.VideoFrame) -> Frame:
    """Return a decoded frame as RGB pixels, turned as its display matrix says.

    Phones record upright videos lying on their side, and say so in the file. Raises
    av.FFmpegError.
    """
    pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    # Both count quarters of a turn counterclockwise.
    quarters = round(frame.rotation / 90) % 4
    return Frame(np.ascontiguousarray(np.rot90(pixels, quarters)), is_bgr=False)
