"""Drawn comparisons: theirs on the left, ours on the right, a colour for each kind."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from elastic_yolo.comparison.drawing import draw_comparison
from elastic_yolo.comparison.pairing import Pair, Tolerance
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.picture.errors import PictureUndecodable
from tests.support.pictures import encode, plain

GREEN, ORANGE, RED, BLUE = (70, 205, 90), (255, 165, 0), (255, 75, 75), (80, 170, 255)
TOLERANCE = Tolerance()


def box(x: float, y: float = 300, score: float = 0.9) -> Detection:
    return Detection("dog", score, (x, y, 80, 60))


def drawn(pairs: list[Pair], data: bytes) -> np.ndarray:
    sheet = draw_comparison(data, pairs, TOLERANCE, ("theirs", "ours"))
    return np.asarray(Image.open(io.BytesIO(sheet)).convert("RGB")).astype(int)


def has(region: np.ndarray, colour: tuple[int, int, int]) -> bool:
    """Return whether a line of this colour is in a region; JPEG changes colours slightly."""
    return int((np.abs(region - colour).max(axis=2) < 25).sum()) > 50


def test_each_side_has_its_boxes_in_the_colours_of_their_kinds() -> None:
    pairs = [
        Pair(box(100), box(100)),
        Pair(box(250), box(260)),
        Pair(box(400), None),
        Pair(None, box(550)),
    ]

    sheet = drawn(pairs, encode(plain(640, 480, (128, 128, 128)), "JPEG"))

    assert sheet.shape == (480 + 2 * 34, 2 * 640 + 8, 3)
    left, right = sheet[34:-34, :640], sheet[34:-34, 648:]
    kinds = (GREEN, ORANGE, RED, BLUE)
    assert [has(left, colour) for colour in kinds] == [True, True, True, False]
    assert [has(right, colour) for colour in kinds] == [True, True, False, True]
    # The lower edge of the same box: (100, 330) of the picture.
    for side in (left, right):
        assert has(side[327:334, 70:130], GREEN)
        assert not has(side[335:345, 70:130], GREEN)


def test_the_legend_names_all_kinds() -> None:
    sheet = drawn([Pair(box(100), None)], encode(plain(640, 480), "JPEG"))

    legend = sheet[-34:]
    for colour in (GREEN, ORANGE, RED, BLUE):
        # Thin letters on black: JPEG mixes their colours.
        assert (np.abs(legend - colour).max(axis=2) < 80).sum() > 10


def test_captions_do_not_cover_each_other() -> None:
    """Two boxes in the same place: the area of captions is that of two."""
    data = encode(plain(640, 480, (128, 128, 128)), "JPEG")

    def filled(*scores: float) -> int:
        pairs = [Pair(box(300, score=score), None) for score in scores]
        left = drawn(pairs, data)[34:-34, :640]
        # A caption has rows with many red pixels; the sides of a box have few.
        return int(((np.abs(left - RED).max(axis=2) < 25).sum(axis=1) > 40).sum())

    assert filled(0.9, 0.8) > 1.5 * filled(0.9)


@pytest.mark.parametrize("size", [(8, 8), (40, 3000), (3000, 40)])
def test_any_shape_of_picture_is_drawn(size: tuple[int, int]) -> None:
    far = Detection("x" * 200, 0.9, (1e7, -1e7, 1e7, 1e7))

    sheet = drawn([Pair(box(4, 4), far), Pair(None, box(1, 1))], encode(plain(*size), "PNG"))

    assert sheet.shape[1] >= 2 * 480
    assert max(sheet.shape) <= 2 * 900 + 8


def test_a_picture_is_drawn_upright() -> None:
    turned = encode(plain(1280, 320), "JPEG", orientation=6)

    # 320 x 1280 becomes 225 x 900, in a panel that has room for its title.
    assert drawn([], turned).shape[:2] == (900 + 2 * 34, 2 * 480 + 8)


def test_a_damaged_picture_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encode(noise, "PNG"))
    data[3000:3200] = bytes(200)

    with pytest.raises(PictureUndecodable):
        drawn([], bytes(data))
