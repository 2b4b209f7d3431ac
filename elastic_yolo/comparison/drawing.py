"""Draw the detections of two implementations side by side: theirs on the left, ours on the right.

Needs Pillow.
"""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont

from elastic_yolo.comparison.pairing import Kind, Pair, Tolerance
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.picture.drawing import open_upright

# Sides of a panel in pixels: captions are legible, and two panels fit a screen.
_LARGEST, _SMALLEST = 900, 480
_BAR, _GAP = 34, 8
_TEXT = 17
_COLOURS = {
    Kind.SAME: (70, 205, 90),
    Kind.MOVED: (255, 165, 0),
    Kind.LOST: (255, 75, 75),
    Kind.GAINED: (80, 170, 255),
}
_BACKGROUND = (24, 24, 24)
# Captions that a further one avoids.
_MOST_CAPTIONS = 50
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_Area = tuple[float, float, float, float]


def draw_comparison(
    data: bytes, pairs: list[Pair], tolerance: Tolerance, titles: tuple[str, str]
) -> bytes:
    """Return a JPEG with two copies of the upright picture; `titles` are those of left and right.

    The colour of a box says what became of it; a legend below counts them. Raises
    PictureUndecodable.
    """
    picture = open_upright(data)
    scale = min(_LARGEST / max(picture.size), max(1.0, _SMALLEST / max(picture.size)))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    panel = picture.resize(size, Image.Resampling.BILINEAR)
    step = max(panel.width, _SMALLEST) + _GAP
    sheet = Image.new("RGB", (2 * step - _GAP, panel.height + 2 * _BAR), _BACKGROUND)
    font = ImageFont.load_default(size=_TEXT)
    # The least interesting ones first: the others are drawn over them.
    order = sorted(pairs, key=lambda pair: (pair.kind(tolerance) != Kind.SAME, pair.best_score))
    for at, title in enumerate(titles):
        side = [(pair.ours if at else pair.theirs, pair.kind(tolerance)) for pair in order]
        half = panel.copy()
        _draw(half, [(found, kind) for found, kind in side if found], scale, font)
        sheet.paste(half, (at * step, _BAR))
        _write(sheet, (at * step + 8, 6), title, "white", font)
    _draw_legend(sheet, pairs, tolerance, font)
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


def _draw(
    panel: Image.Image,
    side: list[tuple[Detection, Kind]],
    scale: float,
    font: _Font,
) -> None:
    draw = ImageDraw.Draw(panel)
    corners = []
    for found, kind in side:
        left, top, right, bottom = _clipped(found, scale, panel.size)
        corners.append((left, top))
        draw.rectangle((left, top, right, bottom), outline=_COLOURS[kind], width=3)
    taken: list[_Area] = []
    # The captions of the best ones get the place that they want.
    for (found, kind), corner in reversed(list(zip(side, corners, strict=True))):
        text = f"{found.label[:40]} {found.score:.2f}"
        _, _, right, bottom = draw.textbbox((0, 0), text, font=font)
        area = _place(corner, (right + 4, bottom + 2), panel.size, taken)
        taken = [area, *taken][:_MOST_CAPTIONS]
        draw.rectangle(area, fill=_COLOURS[kind])
        draw.text((area[0] + 2, area[1]), text, fill="black", font=font)


def _clipped(found: Detection, scale: float, panel: tuple[int, int]) -> _Area:
    """Return the corners of a box in the panel, those outside of it just beyond its border.

    Pillow takes seconds for a line of millions of pixels.
    """
    x, y, width, height = (value * scale for value in found.box)
    outside, (most_x, most_y) = 10.0, panel
    left, right = (
        min(max(at, -outside), most_x + outside) for at in (x - width / 2, x + width / 2)
    )
    top, bottom = (
        min(max(at, -outside), most_y + outside) for at in (y - height / 2, y + height / 2)
    )
    return left, top, right, bottom


def _place(
    corner: tuple[float, float],
    size: tuple[float, float],
    panel: tuple[int, int],
    taken: list[_Area],
) -> _Area:
    """Return the area of a caption: above its box, or below the captions that are there already."""
    width, height = size
    left = max(0.0, min(corner[0], panel[0] - width))
    top = max(0.0, min(corner[1] - height, panel[1] - height))
    for _ in taken:
        area = (left, top, left + width, top + height)
        hidden = next((one for one in taken if _overlap(area, one)), None)
        if hidden is None or hidden[3] + 1 + height > panel[1]:
            break
        top = hidden[3] + 1
    return (left, top, left + width, top + height)


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_legend(
    sheet: Image.Image,
    pairs: list[Pair],
    tolerance: Tolerance,
    font: _Font,
) -> None:
    x = 8
    for kind, colour in _COLOURS.items():
        count = sum(pair.kind(tolerance) is kind for pair in pairs)
        x += 24 + _write(sheet, (x, sheet.height - _BAR + 6), f"{count} {kind}", colour, font)


def _write(
    sheet: Image.Image,
    at: tuple[int, int],
    text: str,
    colour: tuple[int, int, int] | str,
    font: _Font,
) -> int:
    """Write a line of text and return its width in pixels."""
    draw = ImageDraw.Draw(sheet)
    draw.text(at, text, fill=colour, font=font)
    return round(draw.textlength(text, font=font))
