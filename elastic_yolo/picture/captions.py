"""Draw text of any script, with fonts that ship with this package.

HarfBuzz chooses, joins and places the glyphs, and fills their outlines. Needs uharfbuzz.
"""

from __future__ import annotations

import lzma
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources

import numpy as np
import uharfbuzz as hb
from numpy.typing import NDArray

from elastic_yolo.picture.bidi import visual_runs

Mask = NDArray[np.uint8]
"""(h, w) uint8: how much of each pixel the text covers, 0 to 255."""

# A longer text would be wider than any picture that it belongs to.
_MOST_CHARACTERS = 200
# Other letters need more pixels than Latin ones, which are legible from 11 pixels on. Unifont is
# made of 16 x 16 dots.
_SMALLEST = {"Aileron": 1, "DejaVuSans": 1, "Unifont": 16, "UnifontUpper": 16}
_SMALLEST_OTHER = 14
# HarfBuzz computes in whole numbers, here of 1/64 pixel.
_UNITS = 64
_REPLACEMENT, _FONT_OF_REPLACEMENT = "\ufffd", "DejaVuSans"
_VARIATION_SELECTORS = frozenset(map(chr, range(0xFE00, 0xFE10)))
_ONE_LINE = str.maketrans(dict.fromkeys("\n\r\t\v\f\x85\u2028\u2029", " "))

# First and last character of the blocks that have a font of their own.
_BLOCKS = [
    (0x0900, 0x097F, "NotoSansDevanagari"),
    (0x0980, 0x09FF, "NotoSansBengali"),
    (0x0A00, 0x0A7F, "NotoSansGurmukhi"),
    (0x0A80, 0x0AFF, "NotoSansGujarati"),
    (0x0B00, 0x0B7F, "NotoSansOriya"),
    (0x0B80, 0x0BFF, "NotoSansTamil"),
    (0x0C00, 0x0C7F, "NotoSansTelugu"),
    (0x0C80, 0x0CFF, "NotoSansKannada"),
    (0x0D00, 0x0D7F, "NotoSansMalayalam"),
    (0x0D80, 0x0DFF, "NotoSansSinhala"),
    (0x0E00, 0x0E7F, "NotoSansThai"),
    (0x0E80, 0x0EFF, "NotoSansLao"),
    (0x1000, 0x109F, "NotoSansMyanmar"),
    (0x1100, 0x11FF, "WenQuanYiMicroHei"),
    (0x1200, 0x139F, "NotoSansEthiopic"),
    (0x1780, 0x17FF, "NotoSansKhmer"),
    (0x1CD0, 0x1CFF, "NotoSansDevanagari"),
    (0x2D80, 0x2DDF, "NotoSansEthiopic"),
    (0x2E80, 0x9FFF, "WenQuanYiMicroHei"),
    (0xA8E0, 0xA8FF, "NotoSansDevanagari"),
    (0xAC00, 0xD7FF, "WenQuanYiMicroHei"),
    (0xF900, 0xFAFF, "WenQuanYiMicroHei"),
    (0xFE30, 0xFE4F, "WenQuanYiMicroHei"),
    (0xFF00, 0xFFEF, "WenQuanYiMicroHei"),
]


def draw_text(parts: Sequence[str], size: int) -> Mask:
    """Return the parts of a line side by side, cropped to their ink, at least 1x1.

    Each part has its own direction: a number behind an Arabic word stays to the right of it. `size`
    is that of the font in pixels; letters that need more get more. A character that no font has is
    drawn as a question mark in a black diamond.
    """
    raster = hb.RasterDraw()
    raster.scale_factor = (_UNITS, _UNITS)
    x = 0
    for part in parts:
        line = unicodedata.normalize("NFC", part[:_MOST_CHARACTERS]).translate(_ONE_LINE)
        for run, is_reversed in visual_runs(line):
            pieces = list(_split_by_font(run))
            for text, name in reversed(pieces) if is_reversed else pieces:
                x = _add_glyphs(raster, x, text, name, size, is_reversed=is_reversed)
    image = raster.render()
    extents = image.extents if image is not None else None
    if image is None or extents is None or not extents.width or not extents.height:
        return np.zeros((1, 1), np.uint8)
    rows = np.frombuffer(image.buffer, np.uint8).reshape(extents.height, extents.stride)
    # The lowest row comes first.
    return rows[::-1, : extents.width]


def _add_glyphs(
    raster: hb.RasterDraw, x: int, text: str, name: str, size: int, *, is_reversed: bool
) -> int:
    """Draw a piece of text of one font from `x` on, in units, and return where it ends."""
    font = hb.Font(_face(name))
    font.scale = (max(size, _SMALLEST.get(name, _SMALLEST_OTHER)) * _UNITS,) * 2
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    buffer.direction = "rtl" if is_reversed else "ltr"
    hb.shape(font, buffer)
    for glyph, place in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
        raster.transform = (1, 0, 0, 1, x + place.x_offset, place.y_offset)
        raster.draw_glyph(font, glyph.codepoint)
        x += place.x_advance
    return x


def _split_by_font(text: str) -> Iterator[tuple[str, str]]:
    """Yield pieces of a text, each with the name of a font that has its characters."""
    piece, current = "", "Aileron"
    for cluster in _clusters(text):
        font = current if _has_all(current, cluster) else _find_font(cluster)
        if font is None:
            font, cluster = _FONT_OF_REPLACEMENT, _REPLACEMENT  # noqa: PLW2901
        if piece and font != current:
            yield piece, current
            piece = ""
        current = font
        piece += cluster
    if piece:
        yield piece, current


def _clusters(text: str) -> Iterator[str]:
    """Yield each character with what changes it: marks, joiners, variation selectors."""
    cluster = ""
    for character in text:
        if cluster and unicodedata.category(character) not in ("Mn", "Me", "Cf"):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _find_font(cluster: str) -> str | None:
    """Return a font that has all of a cluster, or its first character at least, or None."""
    code = ord(cluster[0])
    own = next((name for first, last, name in _BLOCKS if first <= code <= last), None)
    last = "Unifont" if code <= 0xFFFF else "UnifontUpper"
    names = ("Aileron", *((own,) if own else ()), "DejaVuSans", last)
    whole = (name for name in names if _has_all(name, cluster))
    return next(whole, None) or next((name for name in names if _has_all(name, cluster[0])), None)


def _has_all(name: str, cluster: str) -> bool:
    """Return whether a font has all characters but those that are never visible."""
    known = _characters(name)
    return all(ord(character) in known or _is_invisible(character) for character in cluster)


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) == "Cf" or character in _VARIATION_SELECTORS


@cache
def _characters(name: str) -> frozenset[int]:
    return frozenset(_face(name).unicodes)


@cache
def _face(name: str) -> hb.Face:
    file = resources.files("elastic_yolo.picture").joinpath("fonts", f"{name}.xz")
    return hb.Face(hb.Blob(lzma.decompress(file.read_bytes())))
