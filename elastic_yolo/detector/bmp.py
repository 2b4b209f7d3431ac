"""Decode the pixels of a BMP that are not compressed.

OpenCV knows some layouts of 16 and 32 bits only, and takes red for blue in others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.picture.bmp import BmpLayout

# Rows are decoded in pieces of about this many pixels, so that intermediate values take little.
_PIECE = 1 << 18
# A channel of more bits loses the lowest ones.
_MOST_BITS = 16


def decode_bmp(data: bytes, layout: BmpLayout) -> Pixels:
    """Return (h, w, 3) uint8 RGB; bits of alpha are ignored.

    A channel of n bits is scaled from 2^n - 1 to 255 and rounded down, as Pillow does. A colour
    that the palette lacks is black.
    """
    rows = _rows(data, layout)
    pixels = np.empty((layout.height, layout.width, 3), np.uint8)
    step = max(1, _PIECE // layout.width)
    palette = _palette(data, layout)
    for at in range(0, layout.height, step):
        piece = rows[at : at + step]
        if layout.bits <= 8:
            pixels[at : at + step] = palette[_indices(piece, layout)]
        elif layout.bits == 24:
            blue_first = piece[:, : 3 * layout.width].reshape(len(piece), layout.width, 3)
            pixels[at : at + step] = blue_first[..., ::-1]
        else:
            words = piece.view(f"<u{layout.bits // 8}")[:, : layout.width]
            for channel, mask in enumerate(layout.masks):
                pixels[at : at + step, :, channel] = _channel(words, mask)
    return pixels


def _rows(data: bytes, layout: BmpLayout) -> Pixels:
    """Return (h, row bytes) uint8, the upper row first."""
    size = layout.row_bytes * layout.height
    if layout.pixels_at + size > len(data):
        # The last row lacks its padding.
        data += bytes(layout.row_bytes)
    rows = np.frombuffer(data, np.uint8, size, layout.pixels_at)
    rows = rows.reshape(layout.height, layout.row_bytes)
    return rows if layout.is_top_down else rows[::-1]


def _palette(data: bytes, layout: BmpLayout) -> Pixels:
    """Return (2^bits, 3) uint8 RGB."""
    count, step = layout.palette_size, layout.palette_step
    colours = np.zeros((1 << min(layout.bits, 8), 3), np.uint8)
    stored = np.frombuffer(data, np.uint8, count * step, layout.palette_at).reshape(count, step)
    colours[:count] = stored[:, 2::-1]
    return colours


def _indices(rows: Pixels, layout: BmpLayout) -> Pixels:
    """Return (rows, width) uint8: the number of each pixel's colour; the first is in high bits."""
    if layout.bits == 8:
        return rows[:, : layout.width]
    shifts = np.arange(8 - layout.bits, -1, -layout.bits, dtype=np.uint8)
    spread = (rows[..., None] >> shifts) & ((1 << layout.bits) - 1)
    return np.asarray(spread.reshape(len(rows), -1)[:, : layout.width], np.uint8)


def _channel(words: NDArray[np.uint16 | np.uint32], mask: int) -> Pixels:
    """Return the part of each word that `mask` selects, scaled to 8 bits."""
    if mask == 0:
        return np.zeros(words.shape, np.uint8)
    lowest = (mask & -mask).bit_length() - 1
    bits = mask.bit_length() - lowest
    lowest += max(0, bits - _MOST_BITS)
    largest = (1 << min(bits, _MOST_BITS)) - 1
    value = (words.astype(np.uint32) & mask) >> lowest
    return np.asarray(value * 255 // largest, np.uint8)
