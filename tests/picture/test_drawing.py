"""Boxes drawn into pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from picture.drawing import draw_boxes
from tests.pictures import encode, store_turned


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_drawn_upright(orientation: int) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    stored = encode(store_turned(upright, orientation), "PNG", orientation)

    drawn = Image.open(io.BytesIO(draw_boxes(stored, [], "image/png")))

    assert np.array_equal(np.asarray(drawn), upright)


def test_a_box_is_drawn_where_it_is() -> None:
    picture = encode(np.zeros((200, 300, 3), np.uint8))

    drawn = draw_boxes(picture, [("cat", 0.9, [150, 100, 100, 80])], "image/png")

    bright = np.asarray(Image.open(io.BytesIO(drawn))).any(axis=2)
    assert bright[100, 100]
    assert bright[139, 150]
    assert not bright[100, 150]
    assert not bright[150, 150]
