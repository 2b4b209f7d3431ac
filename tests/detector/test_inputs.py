"""What a detector takes as a picture: files, their bytes, arrays; and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from elastic_yolo.detector import Detector
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.pictures import encode, plain

SCENE = ROOT / "client" / "images" / "scene-01.jpg"


@pytest.fixture(scope="module")
def demo() -> Detector:
    return Detector.load(DEMO_MODEL)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """A scene as RGB, of a size that needs resampling in both directions."""
    return np.asarray(Image.open(SCENE).convert("RGB").resize((700, 450)))


def test_a_stretched_array_gives_the_boxes_of_the_same_pixels_in_a_png(
    pixels: np.ndarray,
) -> None:
    stretching = Detector.load(DEMO_MODEL, resize="stretch")
    from_png = stretching.detect(encode(pixels))

    assert len(from_png) > 3
    assert stretching.detect(rgb=pixels) == from_png
    assert stretching.detect(bgr=pixels[..., ::-1]) == from_png


@pytest.mark.parametrize("exact", [False, True])
def test_an_array_gives_the_boxes_of_the_same_pixels_in_a_png(
    demo: Detector, pixels: np.ndarray, exact: bool
) -> None:
    from_png = demo.detect(encode(pixels), exact=exact)

    assert len(from_png) > 3
    assert demo.detect(rgb=pixels, exact=exact) == from_png
    assert demo.detect(bgr=cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), exact=exact) == from_png


def test_the_wrong_order_of_channels_gives_other_boxes(demo: Detector, pixels: np.ndarray) -> None:
    assert demo.detect(bgr=pixels) != demo.detect(rgb=pixels)


def test_views_of_arrays_are_taken(demo: Detector, pixels: np.ndarray) -> None:
    """Slices, and axes that run backwards, are not contiguous."""
    part = pixels[20:400:2, 10:650:2]

    assert demo.detect(bgr=part[..., ::-1]) == demo.detect(rgb=part.copy()) != []
    assert demo.detect(rgb=part[:, ::-1]) == demo.detect(rgb=part[:, ::-1].copy())


def test_a_path_gives_the_boxes_of_the_files_bytes(demo: Detector) -> None:
    expected = demo.detect(SCENE.read_bytes())

    assert demo.detect(SCENE) == demo.detect(str(SCENE)) == expected


def test_the_arguments_after_the_picture_keep_their_places(demo: Detector) -> None:
    few = demo.detect(SCENE, 0.9, 0.1)

    assert few == demo.detect(SCENE, threshold=0.9, iou=0.1)
    assert 0 < len(few) < len(demo.detect(SCENE))


def test_a_path_that_does_not_exist_is_an_os_error(demo: Detector, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.jpg"):
        demo.detect(tmp_path / "absent.jpg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected one of a picture, bgr= and rgb=, found none .cv2.imread returns None"),
        ({"picture": b"x", "bgr": plain(4, 4)}, "found a picture and bgr="),
        ({"bgr": plain(4, 4), "rgb": plain(4, 4)}, "found bgr= and rgb="),
        ({"picture": plain(4, 4)}, r"say which order .* detect\(bgr=frame\) for OpenCV, detect"),
        ({"picture": 7}, "expected the path or the bytes of a picture file, found int; pixels"),
        ({"picture": Image.new("RGB", (4, 4))}, r"found PIL\.Image\.Image; pixels are numpy"),
        ({"bgr": [[1, 2, 3]]}, r"bgr=: expected a \(height, width, 3\) numpy array .* found list"),
        ({"rgb": b"abc"}, "rgb=: expected .* found bytes"),
    ],
)
def test_anything_but_one_picture_is_a_type_error(
    demo: Detector, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message) as raised:
        demo.detect(**arguments)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"the shape \(4, 5\): for grey pixels, numpy\.dstack"),
        (np.zeros((4, 5, 1), np.uint8), r"\(4, 5, 1\): for grey pixels, numpy\.dstack"),
        (np.zeros((4, 5, 4), np.uint8), r"without the fourth channel, pixels\[\.\.\., :3\]"),
        (np.zeros((3, 4, 5), np.uint8), r"with the channels last, pixels\.transpose\(1, 2, 0\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), "one picture at a time"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\), which has no pixels"),
        (np.zeros(7, np.uint8), r"found the shape \(7,\)"),
        (np.zeros((4, 5, 3), np.float32), "uint8 from 0 to 255, found float32"),
        (np.zeros((4, 5, 3), np.int64), "found int64"),
        (np.zeros((4, 5, 3), bool), "found bool"),
    ],
)
def test_an_array_of_another_form_is_a_value_error(
    demo: Detector, pixels: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        demo.detect(rgb=pixels)

    assert "\n" not in str(raised.value)


def test_what_the_errors_advise_is_accepted(demo: Detector) -> None:
    grey, four = np.full((32, 48), 90, np.uint8), np.full((32, 48, 4), 90, np.uint8)

    assert demo.detect(rgb=np.dstack([grey] * 3)) == demo.detect(rgb=four[..., :3])
    planes = np.full((3, 32, 48), 90, np.uint8)
    assert demo.detect(rgb=planes.transpose(1, 2, 0)) == demo.detect(rgb=four[..., :3])
