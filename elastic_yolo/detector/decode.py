"""Decode a picture file into pixels, at a reduced size where the network needs no more.

Detection and drawing both use this decoder, so that boxes are drawn on the pixels in which they
were found. Transparency is ignored: a pixel has the colour that is stored for it. Of an animation
this is the first frame.
"""

from __future__ import annotations

import numpy as np
import simplejpeg

from elastic_yolo.detector.bmp import decode_bmp
from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.detector.jpeg import decode_doubtful_jpeg
from elastic_yolo.detector.opencv import decode_with_opencv
from elastic_yolo.detector.placement import turn_upright
from elastic_yolo.picture.bmp import RLE4, RLE8, read_bmp, repaired_run_lengths
from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import PictureHeader, read_header
from elastic_yolo.picture.jpeg_scans import lacks_end
from elastic_yolo.picture.png import critical_chunks
from elastic_yolo.picture.webp import first_picture

# A reduced JPEG stays at least this many times larger than in the network's input. The effect on
# scores and boxes is measured in tests/detector/test_decode.py and documented in docs/accuracy.md.
REDUCED_MARGIN = 3
_REDUCTIONS = (8, 4, 2)

# Bytes for each pixel while a file is decoded: the result alone; or with CMYK or what OpenCV holds,
# which is at worst the pixels of a WebP twice with their alpha.
_RESULT, _WITH_ANOTHER = 3, 8
_CMYK = 4
_END_OF_IMAGE = b"\xff\xd9"
# More than a scan of real pixels ends in.
_ZEROS = bytes(64)
# OpenCV refuses shorter WebP files. A file may have more bytes than its header says.
_SHORTEST_WEBP = 32


def decode(data: bytes, header: PictureHeader, needed: tuple[int, int] | None = None) -> Pixels:
    """Return (h, w, 3) uint8 RGB as stored: the Exif orientation is not applied.

    `needed` is the upright (width, height) that the picture will be resized to. A JPEG at least
    REDUCED_MARGIN times larger is decoded at 1/2, 1/4 or 1/8 of its size, which libjpeg does in a
    fraction of the time; without `needed` every pixel is decoded. Raises PictureUndecodable.
    """
    factor = reduction(header, needed)
    match header.media_type:
        case "image/jpeg":
            pixels = _decode_jpeg(data, header, factor)
        case "image/png":
            pixels = _decode_png(data)
        case "image/bmp":
            pixels = _decode_bmp(data)
        case _:
            pixels = _decode_webp(data, header)
    if pixels is None:
        raise PictureUndecodable(f"the {header.media_type} file does not decode")
    width, height = header.reduced_size(factor)
    if pixels.shape != (height, width, 3):
        raise PictureUndecodable(
            f"the {header.media_type} file has other pixels than its header says: "
            f"{pixels.shape[1]}x{pixels.shape[0]}, expected {width}x{height}"
        )
    return pixels


def decode_upright(data: bytes) -> Pixels:
    """Return all pixels of a picture file as (h, w, 3) uint8 RGB, turned as a person sees them.

    Raises PictureError.
    """
    header = read_header(data)
    pixels = decode(data, header)
    if header.orientation == 1:
        return pixels
    # A copy, also of a single row or column: OpenCV does not take the strides of a turned one.
    return np.asarray(turn_upright(pixels, header.orientation), np.uint8).copy()


def reduction(header: PictureHeader, needed: tuple[int, int] | None) -> int:
    """Return the factor, 1, 2, 4 or 8, by which `decode` makes a picture smaller."""
    if needed is None or header.media_type != "image/jpeg":
        return 1
    width, height = header.upright_size
    for factor in _REDUCTIONS:
        if all(
            size >= factor * REDUCED_MARGIN * wanted
            for size, wanted in ((width, needed[0]), (height, needed[1]))
        ):
            return factor
    return 1


def decoding_bytes(header: PictureHeader, needed: tuple[int, int] | None = None) -> int:
    """Return the most memory that `decode` takes for a picture besides its file, in bytes.

    Measured in tests/services/test_decoding_memory.py.
    """
    pixels = header.width * header.height // reduction(header, needed) ** 2
    jpeg = header.jpeg
    if jpeg is None:
        return pixels * _WITH_ANOTHER
    is_direct = jpeg.is_common and jpeg.components != _CMYK
    return pixels * (_RESULT if is_direct else _WITH_ANOTHER) + jpeg.coefficient_bytes


def _decode_jpeg(data: bytes, header: PictureHeader, factor: int) -> Pixels | None:
    if data.endswith(_ZEROS) and lacks_end(data):
        # What an interrupted download leaves: the decoder would take zeros for coefficients.
        data = data.rstrip(b"\0")
    is_simple = header.jpeg is not None and header.jpeg.is_simple
    if not is_simple:
        return decode_doubtful_jpeg(data, header, factor)
    # Behind whole scans, an end-of-image marker that is missing is harmless.
    whole = data if data.endswith(_END_OF_IMAGE) else data + _END_OF_IMAGE
    width, height = header.reduced_size(factor)
    try:
        pixels = simplejpeg.decode_jpeg(
            whole, "RGB", min_height=height, min_width=width, min_factor=factor
        )
    except ValueError:
        return decode_doubtful_jpeg(data, header, factor)
    return np.asarray(pixels, np.uint8)


def _decode_webp(data: bytes, header: PictureHeader) -> Pixels | None:
    picture, corner = first_picture(data)
    pixels = decode_with_opencv(picture.ljust(_SHORTEST_WEBP, b"\0"))
    if pixels is None or corner is None or pixels.shape[:2] == (header.height, header.width):
        return pixels
    # The first frame of an animation may be smaller. Around it, everything is transparent black.
    (height, width, _), (x, y) = pixels.shape, corner
    if x + width > header.width or y + height > header.height:
        return None
    whole = np.zeros((header.height, header.width, 3), np.uint8)
    whole[y : y + height, x : x + width] = pixels
    return whole


def _decode_png(data: bytes) -> Pixels | None:
    # Of an animation, OpenCV holds several pictures, and it refuses a damaged one; and a file
    # without an end, whose pixels may be whole. About colour profiles, libpng writes to stderr.
    return decode_with_opencv(critical_chunks(data))


def _decode_bmp(data: bytes) -> Pixels | None:
    layout = read_bmp(data)
    if layout.compression in (RLE8, RLE4):
        return decode_with_opencv(repaired_run_lengths(data, layout))
    return decode_bmp(data, layout)
