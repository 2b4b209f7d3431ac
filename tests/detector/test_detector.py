"""The Detector: from a picture file to boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.picture.errors import PictureUndecodable
from tests.support.pictures import encode, plain
from tests.support.tiny import ANCHOR, SCORE, write_tiny_model


def load(folder: Path) -> Detector:
    return load_detector(folder, EngineOptions(threads=1))[0]


@pytest.fixture
def tiny(tiny_model: Path) -> Detector:
    return load(tiny_model)


def test_the_tiny_models_detection_is_the_one_computed_by_hand(tiny: Detector) -> None:
    """The box is centred and has the anchor's size, scaled like the 32x32 input."""
    (found,) = tiny.detect(encode(plain(320, 320)))

    assert found.label == "square"
    assert found.score == pytest.approx(SCORE, abs=1e-5)
    assert found.box == (160, 160, 10 * ANCHOR[0], 10 * ANCHOR[1])


def test_boxes_are_relative_to_the_picture_and_not_to_its_margins(tiny: Detector) -> None:
    (found,) = tiny.detect(encode(plain(640, 320)))

    assert found.box == (320, 160, 20 * ANCHOR[0], 20 * ANCHOR[1])


def test_a_batch_has_one_result_for_each_picture(tmp_path: Path) -> None:
    detector = load(write_tiny_model(tmp_path, width=64, height=32))

    found = detector.postprocess(detector.execute(np.zeros((3, 32, 64, 3), np.uint8)), 0.5, 0.45)

    assert [len(rows) for rows in found] == [2, 2, 2]
    assert sorted(found[0][:, 0].tolist()) == [8, 40]


def test_the_threshold_argument_overrides_the_models(tiny: Detector) -> None:
    assert tiny.detect(encode(plain(32, 32)), threshold=0.99) == []
    assert len(tiny.detect(encode(plain(32, 32)), threshold=0.0)) == 2


@pytest.mark.parametrize(
    ("kind", "start", "damage"),
    [
        ("JPEG", 2000, b"\xff\xd9"),  # the scan ends early
        ("PNG", 3000, bytes(200)),  # inside the compressed rows
        ("WEBP", 20, b"\xff\xff\xff"),  # the frame claims not to be a key frame
    ],
)
def test_a_damaged_body_behind_a_good_header_is_refused(
    tiny: Detector, kind: str, start: int, damage: bytes
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encode(noise, kind))
    data[start : start + len(damage)] = damage

    with pytest.raises(PictureUndecodable):
        tiny.detect(bytes(data))
