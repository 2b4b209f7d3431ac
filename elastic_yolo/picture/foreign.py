"""Say what a file is that is not an accepted picture, for the error message."""

from __future__ import annotations

import re

_MAGIC = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000"),
    (b"8BPS", "a Photoshop document"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "compressed with gzip: state Content-Encoding: gzip, or unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it"),
    (b"data:image/", "a data URL: decode its base64 first"),
    (b"/9j/", "base64: decode it first"),
    (b"iVBORw0KGgo", "base64: decode it first"),
)
# ISO base media files: the brand that follows `ftyp`.
_BRANDS = {b"avif": "an AVIF", b"avis": "an AVIF", b"heic": "a HEIC", b"heix": "a HEIC"}
_MARKUP = re.compile(rb"\s*(?:<!doctype html|<html|<head|<body)", re.IGNORECASE)
_SVG = re.compile(rb"\s*(?:<\?xml|<svg)", re.IGNORECASE)
# curl sends it as text where the `@` before a path was forgotten.
_PATH = re.compile(rb"[\x20-\x7e]{1,250}\.(?:jpe?g|png|webp|bmp)\s*", re.IGNORECASE)
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")
_SAMPLE_BYTES = 512


def foreign_picture(data: bytes) -> str | None:
    """Return what a file is by its first bytes, and where it helps what to do; None if unknown."""
    head = data[:_SAMPLE_BYTES]
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video or another ISO media file")
    if _MARKUP.match(head):
        return "an HTML page"
    if _SVG.match(head):
        return "XML, perhaps an SVG"
    if _PATH.fullmatch(data):
        return "the name of a file, not its content: curl reads the file from image=@FILE"
    return "text" if _TEXT.fullmatch(head) else None
