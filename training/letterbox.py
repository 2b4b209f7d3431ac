"""Darknet's letterbox: scale a picture into the network's square and fill the rest with grey."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GREY = 0.5


@dataclass(frozen=True)
class Placement:
    """Position and size of a picture inside the network's input, in px of that input."""

    left: int
    top: int
    width: int
    height: int


def place(width: int, height: int, side: int) -> Placement:
    """Place a width x height picture into side x side as Darknet does: sizes are truncated."""
    if side / width < side / height:
        new_width, new_height = side, height * side // width
    else:
        new_width, new_height = width * side // height, side
    new_width, new_height = max(1, new_width), max(1, new_height)
    return Placement((side - new_width) // 2, (side - new_height) // 2, new_width, new_height)


def resize(picture: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Scale [h, w, 3] bilinearly with aligned corners and no antialiasing, width first."""
    columns, low, high = _taps(picture.shape[1], width)
    weight = (columns - low)[None, :, None]
    wide = picture[:, low] * (1 - weight) + picture[:, high] * weight
    rows, low, high = _taps(picture.shape[0], height)
    weight = (rows - low)[:, None, None]
    return (wide[low] * (1 - weight) + wide[high] * weight).astype(np.float32)


def _taps(old: int, new: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    scale = np.float32((old - 1) / (new - 1)) if new > 1 else np.float32(0)
    position = np.arange(new, dtype=np.float32) * scale
    low = np.minimum(position.astype(np.int64), old - 1)
    return position, low, np.minimum(low + 1, old - 1)


def letterbox(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Turn an RGB picture [h, w, 3] uint8 into the network's input [3, side, side] in 0..1."""
    at = place(picture.shape[1], picture.shape[0], side)
    scaled = resize(picture.astype(np.float32) / np.float32(255), at.width, at.height)
    out = np.full((side, side, 3), GREY, np.float32)
    out[at.top : at.top + at.height, at.left : at.left + at.width] = scaled
    return np.ascontiguousarray(out.transpose(2, 0, 1))
