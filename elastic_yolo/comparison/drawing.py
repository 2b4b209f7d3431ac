"""Draw the detections of two implementations side by side: theirs left, ours right."""

from __future__ import annotations

import cv2
import numpy as np

from elastic_yolo.comparison.pairing import Kind, Pair, Tolerance
from elastic_yolo.detector.boxes import Detection, Pixels
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.picture.captions import draw_text
from elastic_yolo.picture.drawing import (
    Colour,
    caption_margin,
    draw_box,
    draw_caption,
    draw_mask,
    encode,
)
from elastic_yolo.picture.drawn_types import JPEG

# Sides of a panel in pixels: captions are legible, and two panels fit a screen.
_LARGEST, _SMALLEST = 900, 480
_BAR, _GAP = 34, 8
_TEXT = 17
_LINE = 3
_COLOURS: dict[Kind, Colour] = {
    Kind.SAME: (70, 205, 90),
    Kind.MOVED: (255, 165, 0),
    Kind.LOST: (255, 75, 75),
    Kind.GAINED: (80, 170, 255),
}
_BACKGROUND, _WHITE = (24, 24, 24), (255, 255, 255)
# Captions that a further one avoids.
_MOST_CAPTIONS = 50
_Area = tuple[int, int, int, int]


def draw_comparison(
    data: bytes, pairs: list[Pair], tolerance: Tolerance, titles: tuple[str, str]
) -> bytes:
    """Return a JPEG with two copies of the upright picture; `titles` are those of left and right.

    The colour of a box says what became of it; a legend below counts them. Raises PictureError.
    """
    picture = decode_upright(data)
    largest = max(picture.shape)
    scale = min(_LARGEST / largest, max(1.0, _SMALLEST / largest))
    height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
    panel = _resize(picture, (width, height))
    step = max(width, _SMALLEST) + _GAP
    sheet = np.full((height + 2 * _BAR, 2 * step - _GAP, 3), _BACKGROUND, np.uint8)
    # The least interesting ones first: the others are drawn over them.
    order = sorted(pairs, key=lambda pair: (pair.kind(tolerance) != Kind.SAME, pair.best_score))
    for at, title in enumerate(titles):
        side = [(pair.ours if at else pair.theirs, pair.kind(tolerance)) for pair in order]
        half = panel.copy()
        _draw(half, [(found, kind) for found, kind in side if found], scale)
        sheet[_BAR : _BAR + height, at * step : at * step + width] = half
        _write(sheet[:, at * step : at * step + step - _GAP], (8, 8), title, _WHITE)
    _draw_legend(sheet, pairs, tolerance)
    return encode(sheet, JPEG)


def _resize(picture: Pixels, size: tuple[int, int]) -> Pixels:
    way = cv2.INTER_AREA if size[0] < picture.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=way), np.uint8)


def _draw(panel: Pixels, side: list[tuple[Detection, Kind]], scale: float) -> None:
    corners = []
    for found, kind in side:
        box = [value * scale for value in found.box]
        corners.append(draw_box(panel, box, _COLOURS[kind], _LINE))
    taken: list[_Area] = []
    size = (panel.shape[1], panel.shape[0])
    # The captions of the best ones get the place that they want.
    for (found, kind), corner in reversed(list(zip(side, corners, strict=True))):
        text = draw_text([found.label[:40], f" {found.score:.2f}"], _TEXT)
        around = 2 * caption_margin(text)
        area = _place(corner, (text.shape[1] + around, text.shape[0] + around), size, taken)
        taken = [area, *taken][:_MOST_CAPTIONS]
        draw_caption(panel, area[:2], text, _COLOURS[kind])


def _place(
    corner: tuple[int, int],
    size: tuple[int, int],
    panel: tuple[int, int],
    taken: list[_Area],
) -> _Area:
    """Return the area of a caption: above its box, or below the captions that are there already."""
    width, height = size
    left = max(0, min(corner[0], panel[0] - width))
    top = max(0, min(corner[1] - height, panel[1] - height))
    for _ in taken:
        area = (left, top, left + width, top + height)
        hidden = next((one for one in taken if _overlap(area, one)), None)
        if hidden is None or hidden[3] + 1 + height > panel[1]:
            break
        top = hidden[3] + 1
    return (left, top, left + width, top + height)


def _overlap(one: _Area, other: _Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_legend(sheet: Pixels, pairs: list[Pair], tolerance: Tolerance) -> None:
    x = 8
    for kind, colour in _COLOURS.items():
        count = sum(pair.kind(tolerance) is kind for pair in pairs)
        x += 24 + _write(sheet, (x, sheet.shape[0] - _BAR + 8), f"{count} {kind}", colour)


def _write(sheet: Pixels, at: tuple[int, int], text: str, colour: Colour) -> int:
    """Write a line of text and return its width in pixels."""
    mask = draw_text([text], _TEXT)
    draw_mask(sheet, at, mask, colour)
    return int(mask.shape[1])
