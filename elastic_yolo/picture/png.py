"""The chunks of a PNG. Source: the PNG specification (third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

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

    Raises PictureUndecodable for a wrong checksum.
    """
    view = memoryview(data)
    chunks = [one for one in _chunks(data) if one[0] in _CRITICAL]
    if chunks and chunks[-1][2] > len(data):
        return _with_checksums(view, chunks)
    kept: list[bytes | memoryview] = [SIGNATURE]
    for kind, start, end in chunks:
        if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise PictureUndecodable(
                f"the PNG file is damaged: the {kind.decode()} chunk at byte {start:,} has another "
                "checksum"
            )
        kept.append(view[start:end])
    return b"".join([*kept, IEND])


def _with_checksums(view: memoryview, chunks: list[tuple[bytes, int, int]]) -> bytes:
    """Complete a file that ends in the checksums behind its pixels.

    Raises PictureUndecodable if it ends before them.
    """
    kept = [bytes(view[start:end]) for kind, start, end in chunks if kind != b"IDAT"]
    pixels = b"".join(view[start + 8 : end - 4] for kind, start, end in chunks if kind == b"IDAT")
    # Without the two bytes of zlib's header, and the four of its checksum: RFC 1950.
    inflater, checksum, rest = zlib.decompressobj(-zlib.MAX_WBITS), 1, pixels[2:]
    try:
        while rest and not inflater.eof:
            checksum = zlib.adler32(inflater.decompress(rest, _PIECE_BYTES), checksum)
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise PictureUndecodable("the pixels of the PNG file are damaged") from error
    if not inflater.eof:
        raise PictureUndecodable("the PNG file is truncated")
    deflated = pixels[: len(pixels) - len(inflater.unused_data)]
    content = b"IDAT" + deflated + checksum.to_bytes(4)
    whole = (len(content) - 4).to_bytes(4) + content + zlib.crc32(content).to_bytes(4)
    return b"".join([SIGNATURE, *kept, whole, IEND])


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, first byte, byte behind it) of each chunk up to IEND, with length and checksum.

    Like viewers, it takes a file that ends behind an IDAT chunk, or in the checksums at its end:
    whether that was the last one, the decoder finds out. Raises PictureUndecodable for one that
    ends elsewhere.
    """
    at = len(SIGNATURE)
    kind = b""
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            if kind == b"IDAT":
                return
            break
        length, kind = _unpack_chunk(data, at)
        end = at + 12 + length
        if end > len(data):
            if kind == b"IDAT" and end - len(data) <= _CHECKSUM_BYTES:
                yield kind, at, end
                return
            break
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    else:
        raise PictureUndecodable(f"the PNG file has no IEND among its first {MAX_CHUNKS:,} chunks")
    raise PictureUndecodable("the PNG file is truncated")
