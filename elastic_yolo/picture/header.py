"""Read format, size and orientation of a picture from its header.

Nothing is decoded, so a file that claims 300 megapixels costs no more than its bytes. Truncation is
detected here as well, because decoders differ: libjpeg fills missing data with grey. The functions
run on the event loop, so every loop is bounded: any 20 MB take a few milliseconds.

Sources: ITU-T T.81 (JPEG), the PNG specification (third edition), RFC 9649 (WebP),
the Windows BITMAPINFOHEADER, CIPA DC-008 (Exif 2.32) for the orientation tag.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from elastic_yolo.picture.errors import NotAPicture, PictureTooLarge, PictureUndecodable

ACCEPTED = ("image/jpeg", "image/png", "image/webp", "image/bmp")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF_PREFIX = b"Exif\x00\x00"
_ORIENTATION_TAG = 0x0112
# Exif orientations 5 to 8 swap width and height of the upright picture.
_SIDEWAYS = frozenset({5, 6, 7, 8})
# JPEG markers that start a frame: SOF0 to SOF15 less DHT (C4), JPG (C8) and DAC (CC).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})

# Segments before the first scan of a JPEG. An attack: 20 MB can hold five million empty segments,
# which take a second to read. Real files use large ones, and 300 of the largest size fill 20 MB.
MAX_SEGMENTS = 5_000
# Fill bytes before the first scan of a JPEG, in total. The standard sets no limit; encoders write a
# few for alignment.
MAX_FILL_BYTES = 1 << 20
# Data after the end of a JPEG, if it contains FF: cameras append films and other pictures. The
# search for two bytes takes up to 0.7 ms for each MB, the search for FF alone a twentieth of that.
MAX_TRAILER_BYTES = 4 << 20
# Chunks of a PNG or WebP. An attack: 20 MB can hold a million and a half empty chunks. Encoders
# write at most one IDAT chunk for each row, usually one for each 8 KB; 20,000 of 1 KB are 20 MB.
MAX_CHUNKS = 20_000
# Entries of the Exif directory with the orientation; cameras write about twenty.
MAX_EXIF_ENTRIES = 1_000

_FILL = re.compile(rb"\xff*+")
_unpack_segment = struct.Struct(">BBH").unpack_from
_unpack_png_chunk = struct.Struct(">I4s").unpack_from
_unpack_webp_chunk = struct.Struct("<4sI").unpack_from


@dataclass(frozen=True)
class PictureHeader:
    """Fields of a picture's header. `width` and `height` are in pixels as stored."""

    media_type: str
    width: int
    height: int
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels with the orientation applied."""
        if self.orientation in _SIDEWAYS:
            return self.height, self.width
        return self.width, self.height


def read_header(data: bytes) -> PictureHeader:
    """Return the header of a JPEG, PNG, WebP or BMP file.

    Raises NotAPicture for any other content, and PictureUndecodable for a file that is truncated or
    inconsistent.
    """
    media_type = sniff(data)
    if media_type is None:
        raise NotAPicture("not an accepted picture format: expected JPEG, PNG, WebP or BMP")
    try:
        header = _READERS[media_type](data)
    except (struct.error, IndexError) as error:
        raise PictureUndecodable(f"the {media_type} file ends inside its header") from error
    if header.width < 1 or header.height < 1:
        raise PictureUndecodable(
            f"the {media_type} header claims {header.width}x{header.height} pixels"
        )
    return header


def sniff(data: bytes) -> str | None:
    """Return the media type that the first bytes identify, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(_PNG_SIGNATURE):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[:2] == b"BM" and len(data) >= 18 and data[14:18] in _BMP_HEADER_SIZES:
        return "image/bmp"
    return None


def check_pixels(header: PictureHeader, max_pixels: int) -> None:
    """Raise PictureTooLarge if the picture has more than `max_pixels` pixels."""
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise PictureTooLarge(
            f"the picture has {pixels:,} pixels ({header.width}x{header.height}), "
            f"the limit is {max_pixels:,}: send a smaller one"
        )


def _read_jpeg(data: bytes) -> PictureHeader:
    size: tuple[int, int] | None = None
    orientation: int | None = None
    for marker, start, end in _jpeg_segments(data):
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size = (width, height)
        elif marker == 0xE1 and orientation is None and data.startswith(_EXIF_PREFIX, start):
            orientation = _exif_orientation(memoryview(data)[start + 6 : end])
        elif marker == 0xDA:
            break
    else:
        raise PictureUndecodable("the JPEG file ends before its first scan")
    if size is None:
        raise PictureUndecodable("the JPEG file has no frame header before its first scan")
    # Inside a scan, FF is always followed by 00 or a restart marker, so FF D9 is the end of image.
    last = data.rfind(b"\xff", end) + 2
    if data.rfind(b"\xff\xd9", max(end, last - MAX_TRAILER_BYTES), last) < 0:
        raise PictureUndecodable("the JPEG file is truncated: it has no end-of-image marker")
    return PictureHeader("image/jpeg", *size, orientation or 1)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, first payload byte, byte after the payload) up to the first scan."""
    at = 2
    fill_left = MAX_FILL_BYTES
    for _ in range(MAX_SEGMENTS):
        if at + 4 > len(data):
            return
        lead, marker, length = _unpack_segment(data, at)
        if lead != 0xFF:
            raise PictureUndecodable(f"the JPEG file has no marker at byte {at}")
        if marker == 0xFF:
            # The match leaves the last FF, which belongs to the marker.
            fill = len(next(_FILL.finditer(data, at + 1, at + 1 + fill_left))[0])
            at += fill
            fill_left -= fill
            if not fill_left:
                raise PictureUndecodable(
                    f"the JPEG file has {MAX_FILL_BYTES:,} or more fill bytes before its first scan"
                )
        elif marker in _MARKERS_WITHOUT_LENGTH:
            at += 2
        elif length < 2:
            raise PictureUndecodable(f"the JPEG segment at byte {at} has length {length}")
        else:
            yield marker, at + 4, at + 2 + length
            at += 2 + length
    raise PictureUndecodable(f"the JPEG file has no scan among its first {MAX_SEGMENTS:,} segments")


def _read_png(data: bytes) -> PictureHeader:
    if data[12:16] != b"IHDR":
        raise PictureUndecodable("the PNG file does not begin with an IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    orientation: int | None = None
    at = len(_PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            break
        length, kind = _unpack_png_chunk(data, at)
        if kind == b"eXIf" and orientation is None:
            orientation = _exif_orientation(memoryview(data)[at + 8 : at + 8 + length])
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return PictureHeader("image/png", width, height, orientation or 1)
    else:
        raise PictureUndecodable(f"the PNG file has no IEND among its first {MAX_CHUNKS:,} chunks")
    raise PictureUndecodable("the PNG file is truncated: it has no IEND chunk")


def _read_webp(data: bytes) -> PictureHeader:
    (riff_size,) = struct.unpack_from("<I", data, 4)
    if riff_size + 8 > len(data):
        raise PictureUndecodable(
            f"the WebP file is truncated: {len(data)} bytes of {riff_size + 8}"
        )
    size: tuple[int, int] | None = None
    orientation: int | None = None
    at = 12
    for _ in range(MAX_CHUNKS):
        if at + 8 > len(data):
            break
        kind, length = _unpack_webp_chunk(data, at)
        if size is None and kind in _WEBP_SIZES:
            size = _WEBP_SIZES[kind](data[at + 8 : at + 8 + min(length, 10)])
        elif orientation is None and kind == b"EXIF":
            start = at + 8 + len(_EXIF_PREFIX) * data.startswith(_EXIF_PREFIX, at + 8)
            orientation = _exif_orientation(memoryview(data)[start : at + 8 + length])
        at += 8 + length + length % 2
    else:
        raise PictureUndecodable(f"the WebP file has {MAX_CHUNKS:,} chunks or more")
    if size is None:
        raise PictureUndecodable("the WebP file holds no picture")
    return PictureHeader("image/webp", *size, orientation or 1)


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


def _read_bmp(data: bytes) -> PictureHeader:
    offset, header_size = struct.unpack_from("<II", data, 10)
    if header_size == 12:  # BITMAPCOREHEADER
        width, height, _planes, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        height = abs(height)  # negative: rows are stored from the top
    row_bytes = (width * bits + 31) // 32 * 4
    if compression == 0 and offset + row_bytes * height > len(data):
        raise PictureUndecodable(
            f"the BMP file is truncated: {len(data)} bytes of {offset + row_bytes * height}"
        )
    return PictureHeader("image/bmp", width, height)


def _exif_orientation(tiff: memoryview) -> int:
    """Return the orientation (1 to 8) of an Exif block, or 1 if it has none or is damaged.

    Like viewers, this ignores a damaged block instead of refusing the picture. Callers use the
    first block of a file, as viewers do.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for number in range(min(entries, MAX_EXIF_ENTRIES)):
            entry = directory + 2 + 12 * number
            tag, _kind, _count, value = struct.unpack_from(order + "HHIH", tiff, entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


_BMP_HEADER_SIZES = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}
_WEBP_SIZES = {b"VP8 ": _vp8_size, b"VP8L": _vp8l_size, b"VP8X": _vp8x_size}
_READERS = {
    "image/jpeg": _read_jpeg,
    "image/png": _read_png,
    "image/webp": _read_webp,
    "image/bmp": _read_bmp,
}
