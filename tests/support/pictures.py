"""Encode pictures for tests."""

from __future__ import annotations

import io
import zlib
from typing import Any

import numpy as np
from PIL import Image

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}


def encode(pixels: np.ndarray, kind: str = "PNG", orientation: int = 1, **options: Any) -> bytes:
    """Return (h, w, 3) uint8 pixels as a file, stored as given and marked with an orientation."""
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def plain(width: int, height: int, colour: tuple[int, int, int] = (90, 120, 60)) -> np.ndarray:
    """Return a picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def store_turned(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return the pixels that a camera would store for an upright picture with an orientation."""
    turned = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }[orientation](upright)
    return np.ascontiguousarray(turned)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return one chunk of a PNG file."""
    checked = kind + body
    return len(body).to_bytes(4, "big") + checked + zlib.crc32(checked).to_bytes(4, "big")


def png_bomb(width: int, height: int) -> bytes:
    """Return a PNG file of a few bytes whose header claims a size of width x height."""
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = zlib.compress(bytes(1000))
    parts = (png_chunk(b"IHDR", header), png_chunk(b"IDAT", data), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
