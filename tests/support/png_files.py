"""Write PNG files of every colour type and depth."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from tests.support.pictures import png_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, COLOUR: 3, PALETTE: 1, GREY_ALPHA: 2, COLOUR_ALPHA: 4}
# First row, first column, step of rows and step of columns of each pass of Adam7.
_PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
_PASSES.append((1, 0, 2, 1))


def png_file(
    samples: np.ndarray,
    colour_type: int,
    depth: int,
    *,
    interlaced: bool = False,
    before: Sequence[bytes] = (),
    data: bytes | None = None,
    piece: int = 1 << 20,
) -> bytes:
    """Return (h, w, channels) samples as a PNG file; `before` are chunks in front of the pixels.

    `data` replaces the compressed pixels, which come in chunks of `piece` bytes.
    """
    height, width, _ = samples.shape
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    head = sizes + bytes([depth, colour_type, 0, 0, interlaced])
    if data is None:
        data = zlib.compress(png_rows(samples, depth, interlaced=interlaced))
    pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
    chunks = [
        png_chunk(b"IHDR", head),
        *before,
        *(png_chunk(b"IDAT", part) for part in pieces),
        png_chunk(b"IEND", b""),
    ]
    return SIGNATURE + b"".join(chunks)


def png_rows(samples: np.ndarray, depth: int, *, interlaced: bool) -> bytes:
    """Return the rows as they are compressed, each behind a byte for its filter (none)."""
    passes = _PASSES if interlaced else [(0, 0, 1, 1)]
    return b"".join(
        b"\0" + _pack(row, depth)
        for top, left, step_y, step_x in passes
        for row in samples[top::step_y, left::step_x]
        if row.size
    )


def _pack(row: np.ndarray, depth: int) -> bytes:
    flat = row.reshape(-1)
    if depth == 16:
        return flat.astype(">u2").tobytes()
    if depth == 8:
        return flat.astype(np.uint8).tobytes()
    bits = (flat[:, None].astype(np.uint8) >> np.arange(depth - 1, -1, -1)) & 1
    return np.packbits(bits.astype(np.uint8)).tobytes()


def with_bad_checksum(chunk: bytes) -> bytes:
    """Return a chunk whose last byte is wrong."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])
