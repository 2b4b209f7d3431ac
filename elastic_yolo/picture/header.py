"""Read format, size and orientation of a picture from its header.

Nothing is decoded, so a file that claims 300 megapixels costs no more than its bytes. A file whose
structure shows that it is truncated is refused here; whether the scans of a JPEG are complete, only
decoding shows. The functions run on the event loop, so every loop is bounded: any 20 MB take a few
milliseconds.

Source: ITU-T T.81 (JPEG), Annex B.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from elastic_yolo.picture.bmp import HEADER_SIZES, read_bmp
from elastic_yolo.picture.errors import NotAPicture, PictureTooLarge, PictureUndecodable
from elastic_yolo.picture.exif import PREFIX, read_orientation
from elastic_yolo.picture.foreign import foreign_picture
from elastic_yolo.picture.png import SIGNATURE, read_png
from elastic_yolo.picture.webp import read_webp

ACCEPTED = ("image/jpeg", "image/png", "image/webp", "image/bmp")

# Exif orientations 5 to 8 swap width and height of the upright picture.
_SIDEWAYS = frozenset({5, 6, 7, 8})


# Segments before the first scan of a JPEG. An attack: 20 MB can hold five million empty segments,
# which take a second to read. Real files use large ones, and 300 of the largest size fill 20 MB.
MAX_SEGMENTS = 5_000
# Fill bytes and stray bytes before the first scan of a JPEG, in total. The standard sets no limit
# for the former; encoders write a few for alignment. Decoders skip the latter.
MAX_FILL_BYTES = 1 << 20
SCAN = 0xDA
# Markers that start a frame: SOF0 to SOF15 less DHT (C4), JPG (C8) and DAC (CC).
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_MARKERS_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_APP1 = 0xE1
# Horizontal factor in the upper four bits, vertical one in the lower.
_COMMON_FACTORS = frozenset({0x11, 0x21, 0x22, 0x12, 0x41, 0x14})

_FILL = re.compile(rb"\xff*+")
_STRAY = re.compile(rb"[^\xff]*+")
_unpack_segment = struct.Struct(">BBH").unpack_from


@dataclass(frozen=True)
class JpegFrame:
    """What the frame of a JPEG says about decoding it."""

    components: int
    """1 for grey, 3 for colours, 4 for CMYK."""
    coefficient_bytes: int
    """What libjpeg holds of the whole picture while it decodes several scans; 0 for one scan."""
    is_common: bool
    """Whether it has Huffman coding and a subsampling that has a name, such as 4:2:0."""

    @property
    def is_simple(self) -> bool:
        """Whether there is one scan, of a common kind."""
        return self.is_common and not self.coefficient_bytes


@dataclass(frozen=True)
class PictureHeader:
    """Fields of a picture's header. `width` and `height` are in pixels as stored."""

    media_type: str
    width: int
    height: int
    orientation: int = 1
    jpeg: JpegFrame | None = None

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) in pixels with the orientation applied."""
        if self.orientation in _SIDEWAYS:
            return self.height, self.width
        return self.width, self.height

    def reduced_size(self, factor: int) -> tuple[int, int]:
        """Return (width, height) as stored, divided and rounded up, as decoders do."""
        return -(-self.width // factor), -(-self.height // factor)


def read_header(data: bytes) -> PictureHeader:
    """Return the header of a JPEG, PNG, WebP or BMP file.

    Raises NotAPicture for any other content, and PictureUndecodable for a file that is truncated or
    inconsistent.
    """
    media_type = sniff(data)
    if media_type is None:
        kind = foreign_picture(data)
        found = f", found {kind}" if kind else ""
        raise NotAPicture(f"not an accepted picture format: expected JPEG, PNG, WebP or BMP{found}")
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
    if data.startswith(SIGNATURE):
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
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None
    for marker, start, end in jpeg_segments(data):
        if marker in START_OF_FRAME:
            frame = (marker, start, end)
        elif marker == _APP1 and orientation is None and data.startswith(PREFIX, start):
            orientation = read_orientation(memoryview(data)[start:end])
        elif marker == SCAN:
            break
    else:
        raise PictureUndecodable("the JPEG file ends before its first scan")
    if frame is None:
        raise PictureUndecodable("the JPEG file has no frame header before its first scan")
    kind, at, behind = frame
    height, width, components = struct.unpack_from(">HHB", data, at + 1)
    # T.81, B.2.2 and B.2.3. Decoders refuse other lengths, whose fields would lie outside.
    if behind - at != 6 + 3 * components or end - start != 4 + 2 * data[start]:
        raise PictureUndecodable("the JPEG file's frame or scan header has a wrong length")
    factors = data[at + 7 : behind : 3]
    held = 0
    if kind in PROGRESSIVE or data[start] < components:
        held = _coefficient_bytes(factors, width * height)
    is_common = kind not in _ARITHMETIC and _is_common_subsampling(factors)
    jpeg = JpegFrame(components, held, is_common)
    return PictureHeader("image/jpeg", width, height, orientation or 1, jpeg)


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, first payload byte, byte after the payload) up to the first scan.

    Like decoders, it skips bytes that belong to no segment. Raises PictureUndecodable.
    """
    at = 2
    fill_left = MAX_FILL_BYTES
    for _ in range(MAX_SEGMENTS):
        if at + 4 > len(data):
            return
        lead, marker, length = _unpack_segment(data, at)
        if lead != 0xFF or marker in (0x00, 0xFF):
            if marker == lead == 0xFF:
                # The match leaves the last FF, which belongs to the marker.
                skipped = len(next(_FILL.finditer(data, at + 1, at + 1 + fill_left))[0])
            else:
                start = at + (lead == 0xFF)
                skipped = start - at + len(next(_STRAY.finditer(data, start, start + fill_left))[0])
            at += skipped
            fill_left -= skipped
            if fill_left <= 0:
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


def _coefficient_bytes(factors: bytes, pixels: int) -> int:
    """Return the size of all coefficients: two bytes for each sample of each component."""
    largest_x = max((factor >> 4 for factor in factors), default=1)
    largest_y = max((factor & 15 for factor in factors), default=1)
    samples = sum((factor >> 4) * (factor & 15) for factor in factors)
    return 2 * pixels * samples // max(1, largest_x * largest_y)


def _is_common_subsampling(factors: bytes) -> bool:
    """Return whether colours are sampled 1, 2 or 4 times less often; a black one is not."""
    if len(factors) == 1:
        return True
    colours, others = factors[0], factors[1:]
    return colours in _COMMON_FACTORS and others in (b"\x11\x11", b"\x11\x11" + factors[:1])


def _read_png(data: bytes) -> PictureHeader:
    return PictureHeader("image/png", *read_png(data))


def _read_webp(data: bytes) -> PictureHeader:
    return PictureHeader("image/webp", *read_webp(data))


def _read_bmp(data: bytes) -> PictureHeader:
    layout = read_bmp(data)
    return PictureHeader("image/bmp", layout.width, layout.height)


_BMP_HEADER_SIZES = {size.to_bytes(4, "little") for size in HEADER_SIZES}
_READERS = {
    "image/jpeg": _read_jpeg,
    "image/png": _read_png,
    "image/webp": _read_webp,
    "image/bmp": _read_bmp,
}
