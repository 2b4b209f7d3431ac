"""What the library refuses besides pictures, in one line each: the value and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elastic_yolo.detector import Detector, EngineOptions, load_detector
from elastic_yolo.detector.errors import EngineError
from tests.support.pictures import encode, plain

NAN = float("nan")


@pytest.fixture
def tiny(tiny_model: Path) -> Detector:
    return Detector.load(tiny_model)


@pytest.mark.parametrize("resize", ["Stretch", "", 1, ["stretch"]])
def test_an_unknown_resize_rule_is_refused(tiny_model: Path, resize: Any) -> None:
    """It would be a letterbox without a word."""
    message = f"resize={resize!r}: expected 'letterbox' or 'stretch'"

    with pytest.raises(ValueError, match="resize") as raised:
        Detector.load(tiny_model, resize=resize)
    with pytest.raises(ValueError, match="resize") as also:
        load_detector(tiny_model, EngineOptions(threads=1), resize=resize)

    assert str(raised.value) == str(also.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "device='gpu': expected 'auto', 'cpu' or 'cuda'"),
        ({"device": "CUDA"}, "device='CUDA': expected 'auto', 'cpu' or 'cuda'"),
        ({"engine": "tf"}, "engine='tf': expected 'auto', 'openvino', 'onnxruntime' or 'darknet'"),
        ({"engine": None}, "engine=None: expected 'auto', 'openvino', 'onnxruntime' or 'darknet'"),
        (
            {"precision": "fp4"},
            "precision='fp4': expected 'auto', 'fp32', 'bf16', 'fp16' or 'int8'",
        ),
        ({"threads": -3}, "threads=-3: expected an integer from 1 to 4096"),
        ({"threads": 0}, "threads=0: expected an integer from 1 to 4096"),
        ({"threads": 10**12}, "threads=1000000000000: expected an integer from 1 to 4096"),
        ({"threads": "2"}, "threads='2': expected an integer from 1 to 4096"),
        ({"threads": True}, "threads=True: expected an integer from 1 to 4096"),
        ({"cache": 7}, "cache=7: expected the path of a folder, or None"),
        ({"cache": ""}, "cache='': expected the path of a folder, or None"),
    ],
)
def test_an_unknown_engine_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=next(iter(options))) as raised:
        EngineOptions(**{"threads": 1, **options})

    assert str(raised.value) == message


def test_an_array_as_an_option_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="device=array") as raised:
        EngineOptions(1, device=np.zeros((9, 9)))  # type: ignore[arg-type]

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_cache_may_be_a_text_or_a_path(
    tiny_model: Path, tmp_path: Path, kind: type[str | Path]
) -> None:
    cache = tmp_path / "cache"

    Detector.load(tiny_model, EngineOptions(threads=1, cache=kind(cache)))

    assert list(cache.iterdir())


def test_an_engines_own_message_becomes_one_line() -> None:
    error = EngineError("OpenVINO cannot compile: Exception from a.cpp:1:\nException\n\n  here\n")

    assert str(error) == "OpenVINO cannot compile: Exception from a.cpp:1: Exception here"


@pytest.mark.parametrize("name", ["threshold", "iou"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("0.5", TypeError),
        (b"0.5", TypeError),
        ([0.5], TypeError),
        (True, TypeError),
        (NAN, ValueError),
        (2, ValueError),
        (-1, ValueError),
        (np.float32(1.5), ValueError),
    ],
)
def test_a_threshold_that_is_no_fraction_is_refused(
    tiny: Detector, name: str, value: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as raised:
        tiny.detect(encode(plain(32, 32)), **{name: value})

    assert str(raised.value) == f"{name}={value!r}: expected a number from 0 to 1"


@pytest.mark.parametrize(
    ("value", "count"), [(0, 2), (0.25, 1), (np.float32(0.25), 1), (np.float64(0.25), 1), (1, 0)]
)
def test_every_number_from_0_to_1_is_a_threshold(tiny: Detector, value: float, count: int) -> None:
    assert len(tiny.detect(encode(plain(32, 32)), threshold=value, iou=value)) == count


@pytest.mark.parametrize(
    ("images", "kind", "found"),
    [
        (np.zeros((1, 32, 31, 3), np.uint8), ValueError, "found the shape (1, 32, 31, 3)"),
        (np.zeros((1, 3, 32, 32), np.uint8), ValueError, "found the shape (1, 3, 32, 32)"),
        (np.zeros((0, 32, 32, 3), np.uint8), ValueError, "found the shape (0, 32, 32, 3)"),
        (
            np.zeros((32, 32, 3), np.uint8),
            ValueError,
            "found the shape (32, 32, 3): for one picture, image[numpy.newaxis]",
        ),
        (np.zeros((1, 32, 32, 3), np.float64), ValueError, "found float64"),
        (np.zeros((1, 32, 32, 3), np.int8), ValueError, "found int8"),
        ([[1, 2, 3]], TypeError, "found list"),
    ],
)
def test_a_batch_that_does_not_fit_the_network_is_refused(
    tiny: Detector, images: Any, kind: type[Exception], found: str
) -> None:
    with pytest.raises(kind) as raised:
        tiny.execute(images)

    expected = "images: expected a (n, 32, 32, 3) numpy array of uint8 or float32"
    assert str(raised.value) == f"{expected}, {found}"
