"""The chunks of a WebP. Source: RFC 9649."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.exif import read_orientation

# An attack: 20 MB can hold a million and a half empty chunks.
MAX_CHUNKS = 20_000

_DATA = frozenset({b"VP8 ", b"VP8L", b"ALPH"})
_HAS_ALPHA = 0x10
# In the header of a frame: x and y in units of two pixels, width and height less one.
_FRAME_HEADER = 16
_FRAME = (0, 3, 6, 9)
_unpack_chunk = struct.Struct("<4sI").unpack_from


def read_webp(data: bytes) -> tuple[int, int, int]:
    """Return width, height and orientation of a WebP file; raises PictureUndecodable."""
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if riff_size + 8 > len(data):
        raise PictureUndecodable(
            f"the WebP file is truncated: {len(data)} bytes of {riff_size + 8}"
        )
    size: tuple[int, int] | None = None
    orientation: int | None = None
    for kind, start, length in _chunks(data):
        if size is None and kind in _SIZES:
            size = _SIZES[kind](data[start : start + min(length, 10)])
        elif orientation is None and kind == b"EXIF":
            orientation = read_orientation(memoryview(data)[start : start + length])
    if size is None:
        raise PictureUndecodable("the WebP file holds no picture")
    return *size, orientation or 1


def first_picture(data: bytes) -> tuple[bytes, tuple[int, int] | None]:
    """Return a WebP file with the first picture alone, and its place if it is one of an animation.

    The place is that of its left upper corner, (x, y) in pixels of the whole picture.

    Without metadata, because libwebp reads on into the next chunk where compressed pixels end
    early, and without the other frames, because it needs twice the memory for an animation.
    """
    corner: tuple[int, int] | None = None
    extended: bytes | memoryview | None = None
    kept: list[bytes | memoryview] = []
    view = memoryview(data)
    for kind, start, length in _chunks(data):
        chunk = view[start - 8 : start + length + length % 2]
        if kind == b"ANMF":
            frame = view[start : start + length]
            x, y, width, height = (int.from_bytes(frame[at : at + 3], "little") for at in _FRAME)
            corner = (2 * x, 2 * y)
            parts = list(_chunks(frame, _FRAME_HEADER))
            kept = [frame[at - 8 : at + size + size % 2] for one, at, size in parts if one in _DATA]
            extended = _extended_header(width, height)
            break
        if kind == b"VP8X":
            extended = chunk
        elif kind in _DATA:
            kept.append(chunk)
    # Only the extended header announces a separate alpha.
    if extended is not None and any(chunk[:4] == b"ALPH" for chunk in kept):
        kept.insert(0, extended)
    size = 4 + sum(map(len, kept))
    return b"RIFF" + size.to_bytes(4, "little") + b"WEBP" + b"".join(kept), corner


def _extended_header(width_less_1: int, height_less_1: int) -> bytes:
    size = width_less_1.to_bytes(3, "little") + height_less_1.to_bytes(3, "little")
    return b"VP8X" + (10).to_bytes(4, "little") + bytes([_HAS_ALPHA, 0, 0, 0]) + size


def _chunks(data: bytes | memoryview, at: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, first byte and length of the content of each chunk."""
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            return
        kind, length = _unpack_chunk(data, at)
        yield kind, at + 8, length
        at += 8 + length + length % 2
    raise PictureUndecodable(f"the WebP file has {MAX_CHUNKS:,} chunks or more")


def _vp8_size(body: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(body: bytes) -> tuple[int, int]:
    (bits,) = struct.unpack_from("<I", body, 1)
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _vp8x_size(body: bytes) -> tuple[int, int]:
    width = int.from_bytes(body[4:7], "little")
    height = int.from_bytes(body[7:10], "little")
    if len(body) < 10:
        raise IndexError(len(body))
    return width + 1, height + 1


_SIZES = {b"VP8 ": _vp8_size, b"VP8L": _vp8l_size, b"VP8X": _vp8x_size}
