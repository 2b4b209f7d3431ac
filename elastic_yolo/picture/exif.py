"""Read the orientation from an Exif block.

Source: CIPA DC-008 (Exif 2.32), which puts the entry into the first directory of a TIFF file.
"""

from __future__ import annotations

import struct

PREFIX = b"Exif\x00\x00"
"""Begins the block in a JPEG; some programs write it into PNG and WebP files too."""

# Entries of the Exif directory with the orientation; cameras write about twenty.
MAX_EXIF_ENTRIES = 1_000

_ORIENTATION_TAG = 0x0112
# The integer types that fit into an entry: BYTE, SHORT, LONG, SBYTE, SSHORT, SLONG. The standard
# says SHORT, but programs that rewrite a block also use others. In big-endian files their values
# begin at different bytes.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def read_orientation(block: memoryview) -> int:
    """Return the orientation (1 to 8) of an Exif block, or 1 if it has none or is damaged.

    Like viewers, this ignores a damaged block instead of refusing the picture, and an entry that is
    no single integer from 1 to 8. Callers use the first block of a file, as viewers do.
    """
    tiff = block[len(PREFIX) :] if block[: len(PREFIX)] == PREFIX else block
    order = {b"II": "<", b"MM": ">"}.get(bytes(tiff[:2]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", tiff, 4)
        (entries,) = struct.unpack_from(order + "H", tiff, directory)
        for number in range(min(entries, MAX_EXIF_ENTRIES)):
            entry = directory + 2 + 12 * number
            tag, kind, count = struct.unpack_from(order + "HHI", tiff, entry)
            if tag == _ORIENTATION_TAG and kind in _TYPES and count == 1:
                (value,) = struct.unpack_from(order + _TYPES[kind], tiff, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1
