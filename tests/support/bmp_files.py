"""Write BMP files of every layout."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

Masks = tuple[int, int, int, int]
"""The bits of red, green, blue and alpha."""

_FIELDS = 40


def bmp_file(
    rows: bytes,
    size: tuple[int, int],
    bits: int,
    *,
    header_size: int = 40,
    compression: int = 0,
    palette: Sequence[tuple[int, int, int]] = (),
    colours: int = 0,
    masks: Masks | None = None,
    gap: int = 0,
) -> bytes:
    """Return a BMP file; a negative height of `size` (width, height) means top-down rows.

    `palette` is RGB, `colours` the number of them that the header states, `gap` a number of bytes
    in front of the rows.
    """
    width, height = size
    if header_size == 12:
        fields = struct.pack("<HHHH", width, height, 1, bits)
    elif header_size == 16:
        fields = struct.pack("<iiHH", width, height, 1, bits)
    else:
        fields = struct.pack(
            "<iiHHIIiiII", width, height, 1, bits, compression, len(rows), 2835, 2835, colours, 0
        )
    header = (header_size.to_bytes(4, "little") + fields).ljust(min(header_size, _FIELDS), b"\0")
    if masks is not None:
        # A short header is followed by three masks or, with compression 6, by four.
        count = 4 if header_size >= 56 or compression == 6 else 3
        header += struct.pack(f"<{count}I", *masks[:count])
    header = header.ljust(header_size, b"\0")
    unused = b"" if header_size == 12 else b"\0"
    colour_table = b"".join(bytes(colour[::-1]) + unused for colour in palette)
    start = 14 + len(header) + len(colour_table) + gap
    head = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return head + header + colour_table + bytes(gap) + rows


def pad_rows(rows: np.ndarray) -> bytes:
    """Return (h, bytes) uint8 with each row padded to a multiple of four bytes."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()


def pack_indices(indices: np.ndarray, bits: int) -> bytes:
    """Return (h, w) uint8 numbers of colours as rows of `bits` bits, the first in high bits."""
    per_byte = 8 // bits
    filled = np.pad(indices, ((0, 0), (0, -indices.shape[1] % per_byte)))
    grouped = filled.reshape(len(indices), -1, per_byte)
    shifts = np.arange(8 - bits, -1, -bits)
    return pad_rows((grouped << shifts).sum(axis=2).astype(np.uint8))


def pack_words(pixels: np.ndarray, bits: int, masks: Masks, alpha: int = 0) -> bytes:
    """Return (h, w, 3) uint8 RGB as rows of 16- or 32-bit words."""
    words = np.zeros(pixels.shape[:2], np.uint64)
    for value, mask in zip((*np.moveaxis(pixels, 2, 0), alpha), masks, strict=True):
        if mask:
            lowest = mask & -mask
            words |= np.uint64(lowest) * (np.uint64(mask // lowest) * np.uint64(value) // 255)
    return pad_rows(words.astype(f"<u{bits // 8}").view(np.uint8))


def stored_value(pixels: np.ndarray, masks: Masks) -> np.ndarray:
    """Return (h, w, 3) uint8 RGB through channels of so many bits, rounded down twice."""
    channels = []
    for channel, mask in zip(np.moveaxis(pixels, 2, 0), masks[:3], strict=True):
        largest = mask // (mask & -mask) if mask else 0
        stored = channel.astype(np.uint64) * np.uint64(largest) // 255
        channels.append(stored * 255 // np.uint64(largest or 1))
    return np.stack(channels, axis=2).astype(np.uint8)


def run_lengths(indices: np.ndarray, bits: int) -> bytes:
    """Return (h, w) uint8 numbers of colours in RLE8 or RLE4, the lowest row first."""
    rows = []
    for row in indices[::-1]:
        encoded = b""
        at = 0
        while at < len(row):
            end = at + 1
            while end < min(len(row), at + 255) and row[end] == row[at]:
                end += 1
            if end - at < 3 and len(row) - at >= 3:
                literal = row[at : at + min(len(row) - at, 20)]
                at += len(literal)
                encoded += bytes([0, len(literal)]) + _literal(literal, bits)
            else:
                value = int(row[at])
                encoded += bytes([end - at, value if bits == 8 else value << 4 | value])
                at = end
        rows.append(encoded + b"\0\0")
    return b"".join(rows) + b"\0\1"


def _literal(values: np.ndarray, bits: int) -> bytes:
    """Return values one by one, padded to a multiple of two bytes."""
    if bits == 4:
        values = np.pad(values, (0, len(values) % 2))
        values = values[::2] << 4 | values[1::2]
    return values.tobytes() + bytes(len(values) % 2)
