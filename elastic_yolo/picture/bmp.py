"""Read the headers of a BMP: where its pixels are and what their bits mean.

Sources: the Windows documentation of BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER; OS/2's
BITMAPCOREHEADER and BITMAPINFOHEADER2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from elastic_yolo.picture.errors import PictureUndecodable

HEADER_SIZES = (12, 16, 40, 52, 56, 64, 108, 124)
"""Of the header behind the 14 bytes that every file begins with; the size tells which it is."""

RAW, RLE8, RLE4, _BITFIELDS, _ALPHA_BITFIELDS = 0, 1, 2, 3, 6
_FILE_HEADER, _CORE_HEADER, _OS2_SHORT_HEADER, _INFO_HEADER, _OS2_HEADER = 14, 12, 16, 40, 64
_ALLOWED = {
    RAW: {1, 2, 4, 8, 16, 24, 32},
    RLE8: {8},
    RLE4: {4},
    _BITFIELDS: {16, 24, 32},
    _ALPHA_BITFIELDS: {16, 32},
}
# Behind the fields of a BITMAPINFOHEADER, be they the end of a longer header or not.
_MASKS_AT = _FILE_HEADER + _INFO_HEADER
_END_OF_BITMAP = b"\0\1"
# Runs that are followed to see whether a file is whole. An attack: 20 MB may have ten million,
# which take seconds.
_MAX_RUNS = 2_000_000
_MASK_BYTES = {_BITFIELDS: 12, _ALPHA_BITFIELDS: 16}
_EIGHT_BITS_EACH = (0xFF0000, 0x00FF00, 0x0000FF)
_MASKS_OF_RAW = {16: (0x7C00, 0x03E0, 0x001F), 32: _EIGHT_BITS_EACH}


@dataclass(frozen=True)
class BmpLayout:
    """What the headers of a BMP say. Sizes are in pixels, offsets and sizes of data in bytes."""

    width: int
    height: int
    is_top_down: bool
    bits: int
    """Of one pixel."""
    compression: int
    pixels_at: int
    palette_at: int
    palette_size: int
    """Number of colours in the file, at most 2 to the power of `bits`."""
    palette_step: int
    """Bytes of a colour: blue, green, red, and in newer headers one that means nothing."""
    masks: tuple[int, int, int]
    """The bits of red, green and blue in a pixel of 16 or 32 bits."""

    @property
    def row_bytes(self) -> int:
        """The distance of two rows that are not compressed."""
        return (self.width * self.bits + 31) // 32 * 4

    @property
    def pixel_bytes(self) -> int:
        """The size of all rows that are not compressed; the last one needs no padding."""
        return self.row_bytes * (self.height - 1) + (self.width * self.bits + 7) // 8


def read_bmp(data: bytes) -> BmpLayout:
    """Return the layout of a BMP file.

    Raises PictureUndecodable for a file that is truncated or has pixels of an unknown kind, and
    struct.error if it ends inside its header.
    """
    pixels_at, header_size = struct.unpack_from("<II", data, 10)
    compression = colours = 0
    if header_size == _CORE_HEADER:
        width, height, _planes, bits = struct.unpack_from("<HHHH", data, 18)
    elif header_size == _OS2_SHORT_HEADER:
        width, height, _planes, bits = struct.unpack_from("<iiHH", data, 18)
    else:
        width, height, _planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        (colours,) = struct.unpack_from("<I", data, 46)
    # OS/2 has other compressions of the same numbers.
    known = set() if header_size == _OS2_HEADER and compression > RLE4 else _ALLOWED
    if bits not in (_ALLOWED[compression] if compression in known else ()):
        raise PictureUndecodable(
            f"the BMP file has {bits} bits per pixel and compression {compression}, "
            "which is not supported: save it without compression, or as PNG"
        )
    palette_at = _FILE_HEADER + header_size
    palette_step = 3 if header_size == _CORE_HEADER else 4
    palette_size = 0
    first = palette_at + (_MASK_BYTES.get(compression, 0) if header_size == _INFO_HEADER else 0)
    if pixels_at == 0:
        # Some encoders leave it out. The pixels follow the palette.
        stated = colours or (1 << bits if bits <= 8 else 0)
        pixels_at = first + palette_step * stated
    elif pixels_at < first:
        raise PictureUndecodable(
            f"the BMP file states that its pixels begin at byte {pixels_at}, inside its headers"
        )
    if bits <= 8:
        fitting = max(0, pixels_at - palette_at) // palette_step
        palette_size = min(colours or 1 << bits, 1 << bits, fitting)
    layout = BmpLayout(
        width=width,
        height=abs(height),
        is_top_down=height < 0,
        bits=bits,
        compression=compression,
        pixels_at=pixels_at,
        palette_at=palette_at,
        palette_size=palette_size,
        palette_step=palette_step,
        masks=_read_masks(data, bits, compression),
    )
    end = pixels_at + (layout.pixel_bytes if compression not in (RLE8, RLE4) else 1)
    if end > len(data):
        raise PictureUndecodable(f"the BMP file is truncated: {len(data)} bytes of {end}")
    return layout


def _read_masks(data: bytes, bits: int, compression: int) -> tuple[int, int, int]:
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS):
        return _MASKS_OF_RAW.get(bits, (0, 0, 0))
    red, green, blue = (mask % (1 << bits) for mask in struct.unpack_from("<III", data, _MASKS_AT))
    if bits == 32 and not (red or green or blue):
        # Some encoders leave them out.
        return _EIGHT_BITS_EACH
    if not (red or green or blue) or (bits == 24 and (red, green, blue) != _EIGHT_BITS_EACH):
        masks = f"{red:#x}, {green:#x} and {blue:#x}"
        raise PictureUndecodable(
            f"the BMP file has {bits} bits per pixel and the masks {masks}, which is not supported"
        )
    for mask in (red, green, blue):
        # Shifted to its lowest bit, a run of ones is one less than a power of two.
        run = mask // (mask & -mask) if mask else 0
        if run & (run + 1):
            raise PictureUndecodable(
                f"the BMP file has a colour in bits that do not adjoin: mask {mask:#x}"
            )
    return red, green, blue


def repaired_run_lengths(data: bytes, layout: BmpLayout) -> bytes:
    """Return an RLE file with the position of its pixels, and with an end.

    Raises PictureUndecodable if it has no end and its last row is not whole: decoders would fill
    the rest with the first colour of the palette.
    """
    data = data[:10] + layout.pixels_at.to_bytes(4, "little") + data[14:]
    if not _reaches_the_end(memoryview(data)[layout.pixels_at :], layout):
        raise PictureUndecodable("the BMP file is truncated: its run lengths end before its rows")
    return data + _END_OF_BITMAP


def _reaches_the_end(runs: memoryview, layout: BmpLayout) -> bool:
    """Return whether run lengths have an end, or fill the last row."""
    at, column, row = 0, 0, 0
    for _ in range(_MAX_RUNS):
        if at + 2 > len(runs):
            break
        count, value = runs[at], runs[at + 1]
        at += 2
        if count:
            column += count
        elif value == 0:
            column, row = 0, row + 1
        elif value == 1:
            return True
        elif value == 2:
            if at + 2 > len(runs):
                break
            column, row, at = column + runs[at], row + runs[at + 1], at + 2
        else:
            # Padded to a multiple of two bytes.
            at += 2 * (-(-value * layout.bits // 16))
            if at > len(runs):
                break
            column += value
    else:
        return bytes(runs[-2:]) == _END_OF_BITMAP
    return row >= layout.height or (row == layout.height - 1 and column >= layout.width)
