"""Decode a JPEG that something is wrong with, or refuse it because its scans end early.

simplejpeg and OpenCV contain the same libjpeg-turbo, and their pixels are identical. simplejpeg
says what libjpeg complains about, where OpenCV silently returns grey for what is missing, and it
takes less time and half of the memory. See docs/decisions/024-one-decoder.md.
"""

from __future__ import annotations

import re
import zlib

import numpy as np
import simplejpeg

from elastic_yolo.detector.boxes import Pixels
from elastic_yolo.detector.opencv import decode_with_opencv
from elastic_yolo.picture.errors import PictureUndecodable
from elastic_yolo.picture.header import PictureHeader
from elastic_yolo.picture.jpeg_scans import END_OF_IMAGE, check_scans, mend

# libjpeg's texts (jerror.h). What comes between two scans or behind the last one changes no pixel;
# in front of a restart (markers D0 to D7) it shows that another one is missing.
_HARMLESS = re.compile(
    r"extraneous bytes before marker 0x(?!d[0-7])|Invalid SOS parameters|Inconsistent progression"
)
_INCOMPLETE = re.compile(
    r"[Pp]remature end of|bad Huffman code|bad arithmetic code|instead of RST|extraneous bytes"
)
# Different coefficients, whatever the entropy coding; arithmetic coders omit zeros at the end.
_FILLER = bytes(16) + bytes(range(1, 0xFF)) * 8


def decode_doubtful_jpeg(data: bytes, header: PictureHeader, factor: int) -> Pixels | None:
    """Return (h, w, 3) uint8 RGB as stored at 1 / `factor` of its size: 1, 2, 4 or 8.

    For files of several scans, of an uncommon kind, and those that libjpeg complains about. None
    means that neither library can decode the file. Raises PictureUndecodable if its scans are
    damaged or end early.
    """
    try:
        if header.jpeg is not None and header.jpeg.coefficient_bytes:
            check_scans(data)
        mended = mend(data)
    except (ValueError, IndexError) as error:
        raise PictureUndecodable("the JPEG file is truncated or damaged") from error
    if header.jpeg is not None and not header.jpeg.is_common:
        return _decode_uncommon(mended, factor)
    try:
        return _decode(mended, header, factor)
    except ValueError as error:
        complaint = str(error)
    if _HARMLESS.search(complaint):
        return _decode(mended, header, factor, strict=False)
    if _INCOMPLETE.search(complaint):
        what = complaint.removeprefix("Corrupt JPEG data: ")
        raise PictureUndecodable(f"the JPEG file is truncated or damaged: {what}")
    return _decode_uncommon(mended, factor)


def _decode(data: bytes, header: PictureHeader, factor: int, *, strict: bool = True) -> Pixels:
    """Decode with simplejpeg; raises ValueError if libjpeg fails or, with `strict`, complains."""
    width, height = header.reduced_size(factor)
    pixels = simplejpeg.decode_jpeg(
        data, "RGB", min_height=height, min_width=width, min_factor=factor, strict=strict
    )
    return np.asarray(pixels, np.uint8)


def _decode_uncommon(data: bytes, factor: int) -> Pixels | None:
    """Decode with OpenCV what simplejpeg does not take, and where libjpeg complains about nothing.

    The former is subsampling by three, for one, the latter arithmetic coding. If the scans are
    complete, no decoder reads what follows them; if not, it takes the filler for coefficients, and
    the pixels differ.
    """
    filled = decode_with_opencv(data[: -len(END_OF_IMAGE)] + _FILLER + END_OF_IMAGE, factor)
    if filled is None:
        return None
    # One after the other, because OpenCV needs twice the memory of the pixels.
    expected = zlib.crc32(filled.data)
    del filled
    pixels = decode_with_opencv(data, factor)
    if pixels is None or zlib.crc32(pixels.data) != expected:
        raise PictureUndecodable("the JPEG file is truncated or damaged")
    return pixels
