"""The chunks of a PNG. Source: the PNG specification (third edition)."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.exif import read_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# An attack: 20 MB can hold a million and a half empty chunks. Encoders write at most one IDAT chunk
# for each row, usually one for each 8 KB; 20,000 of 1 KB are 20 MB.
MAX_CHUNKS = 20_000

_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT"})
IEND = b"\0\0\0\0IEND\xaeB\x60\x82"
"""The last chunk of every PNG."""
# That of the zlib stream, and that of its last chunk.
_CHECKSUM_BYTES = 8
_PIECE_BYTES = 64 * 1024
# An attack: 20 MB that inflate to 20 GB, behind the last row, take a minute. Below this, seconds.
# To inflate every PNG twice would take half as long again: samples tell which ones to check.
_MAX_UNCHECKED_BYTES = 1024 * 1024
_SAMPLES, _SAMPLE_BYTES = 16, 1024
_PALETTE = 3
_CHANNELS = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}
# The passes of an interlaced picture: first column and row, distance of columns and rows.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_unpack_chunk = struct.Struct(">I4s").unpack_from


def read_png(data: bytes) -> tuple[int, int, int]:
    """Return width, height and orientation of a PNG file; raises PictureUndecodable."""
    if data[12:16] != b"IHDR":
        raise PictureUndecodable("the PNG file does not begin with an IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    orientation: int | None = None
    for kind, start, end in _chunks(data):
        if kind == b"eXIf" and orientation is None:
            orientation = read_orientation(memoryview(data)[start + 8 : end - 4])
    return width, height, orientation or 1


def critical_chunks(data: bytes) -> bytes:
    """Return the same picture with nothing but its pixels and its palette.

    Raises PictureUndecodable for a wrong checksum, and for many more pixels than the header says.
    """
    view = memoryview(data)
    has_palette = data[25:26] == bytes([_PALETTE])
    kept: list[bytes | memoryview] = []
    pixels: list[memoryview] = []
    end = 0
    for kind, start, end in _chunks(data):
        if kind not in _CRITICAL or (kind == b"PLTE" and not has_palette):
            continue
        chunk = view[start:end]
        if end <= len(data) and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:]):
            raise PictureUndecodable(
                f"the PNG file is damaged: the {kind.decode()} chunk at byte {start:,} has another "
                "checksum"
            )
        kept.append(chunk)
        if kind == b"IDAT":
            pixels.append(view[start + 8 : end - 4])
    if end > len(data):
        kept = [one for one in kept if one[4:8] != b"IDAT"]
        kept.append(_with_checksums(b"".join(pixels), 2 * _pixel_bytes(data)))
    elif sum(map(len, pixels)) > _MAX_UNCHECKED_BYTES:
        deflated = b"".join(pixels)
        if _is_repetitive(deflated):
            with suppress(zlib.error):
                _inflate(deflated, 2 * _pixel_bytes(data))
    return b"".join([SIGNATURE, *kept, IEND])


def _is_repetitive(deflated: bytes) -> bool:
    """Return whether deflated data can be deflated again, as that of a hundredfold size can."""
    places = range(len(deflated) - _SAMPLE_BYTES)
    # At random, or an attacker would know which places to avoid.
    at_random = random.choices(places, k=_SAMPLES)  # noqa: S311
    samples = (deflated[at : at + _SAMPLE_BYTES] for at in at_random)
    return any(2 * len(zlib.compress(sample, 1)) < len(sample) for sample in samples)


def _pixel_bytes(data: bytes) -> int:
    """Return the size of the filtered rows that a PNG deflates, in bytes."""
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    bits = depth * _CHANNELS.get(colour, 4)
    total = 0
    for left, top, right_by, down_by in _ADAM7 if data[28] else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right_by), -(-(height - top) // down_by)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total


def _with_checksums(pixels: bytes, most: int) -> bytes:
    """Return an IDAT chunk of pixels whose last checksums are missing.

    Raises PictureUndecodable if the pixels are not whole.
    """
    try:
        size, checksum = _inflate(pixels, most)
    except zlib.error as error:
        raise PictureUndecodable("the pixels of the PNG file are damaged") from error
    there = pixels[size : size + 4]
    if not checksum.to_bytes(4).startswith(there):
        raise PictureUndecodable("the pixels of the PNG file have another checksum")
    content = b"IDAT" + pixels[:size] + checksum.to_bytes(4)
    return (len(content) - 4).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)


def _inflate(pixels: bytes, most: int) -> tuple[int, int]:
    """Return the size of a zlib stream without its checksum, and the checksum (RFC 1950).

    Raises zlib.error, and PictureUndecodable if it does not end or inflates to more than `most`.
    """
    inflater, checksum, done = zlib.decompressobj(-zlib.MAX_WBITS), 1, 0
    view = memoryview(pixels)
    # The first two bytes are zlib's.
    for at in range(2, len(pixels), _PIECE_BYTES):
        rest: bytes | memoryview = view[at : at + _PIECE_BYTES]
        while rest and not inflater.eof:
            inflated = inflater.decompress(rest, _PIECE_BYTES)
            checksum = zlib.adler32(inflated, checksum)
            done += len(inflated)
            if done > most:
                raise PictureUndecodable("the PNG file has more pixels than its header says")
            rest = inflater.unconsumed_tail
        if inflater.eof:
            size = min(at + _PIECE_BYTES, len(pixels)) - len(inflater.unused_data)
            return size, checksum
    raise PictureUndecodable("the PNG file is truncated")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, first byte, byte behind it) of each chunk up to IEND, with length and checksum.

    Like viewers, it takes a file that ends behind an IDAT chunk, or in the checksums at its end:
    whether that was the last one, the decoder finds out. Raises PictureUndecodable for one that
    ends elsewhere.
    """
    at = len(SIGNATURE)
    kind = b""
    for _ in range(MAX_CHUNKS):
        before = kind
        length, kind = _unpack_chunk(data, at) if at + 8 <= len(data) else (0, b"")
        end = at + 12 + length
        if end > len(data):
            if kind == b"IDAT" and end - len(data) <= _CHECKSUM_BYTES:
                yield kind, at, end
                return
            if before == b"IDAT" and at + 12 > len(data):
                return
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    else:
        raise PictureUndecodable(f"the PNG file has no IEND among its first {MAX_CHUNKS:,} chunks")
    raise PictureUndecodable("the PNG file is truncated")
