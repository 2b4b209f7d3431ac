"""Write Exif blocks with an orientation of any type and byte order."""

from __future__ import annotations

import struct

PREFIX = b"Exif\0\0"
INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def exif_block(value: int, kind: int = 3, order: str = ">", count: int = 1) -> bytes:
    """Return a TIFF file with one entry; `order` is > for big-endian, < for little-endian."""
    stored = struct.pack(order + INTEGER_TYPES.get(kind, "H"), value).ljust(4, b"\0")
    start = {">": b"MM\0*", "<": b"II*\0"}[order] + struct.pack(order + "I", 8)
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + stored
    return start + struct.pack(order + "H", 1) + entry + bytes(4)
