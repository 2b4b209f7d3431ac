"""The authors' yolov3-tiny on client/photos: every engine and precision against Darknet and fp32.

The tolerances are the measured differences of docs/accuracy.md, rounded up.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.accuracy import (
    CALIBRATION,
    PHOTOS,
    Evaluator,
    PhotoDifference,
    ask_darknet,
    detect_photo,
    photo_difference,
)
from elastic_yolo.detector.conversion import make_int8
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine, offered_precisions
from elastic_yolo.detector.engines.libdarknet import DarknetBox, find_libdarknet
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.samples import SampleFolder
from tests.support.real_models import real_model

needs_darknet = pytest.mark.skipif(
    find_libdarknet() is None,
    reason='the Darknet oracle is missing: run "make oracle" (installs Debian\'s package '
    "darknet); agreement with Darknet is NOT tested",
)
LIST = sorted(PHOTOS.glob("*.jpg"))
# Pixels and score, with float32 pixels that are resampled as in Darknet, and with uint8.
TOLERANCES = {
    "fp32": {True: (1.0, 0.005), False: (1.5, 0.02)},
    "bf16": {True: (3.0, 0.03), False: (3.0, 0.04)},
}


@pytest.fixture(scope="module")
def model() -> Model:
    return read_model(real_model("yolov3-tiny"))


@pytest.fixture(scope="module")
def darknet(model: Model) -> dict[Path, list[DarknetBox]]:
    """Return Darknet's own answers on the files."""
    return ask_darknet(model, LIST)


@pytest.fixture(scope="module")
def cache(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache with the int8 version, calibrated with other photographs, as serve does."""
    folder = tmp_path_factory.mktemp("cache")
    samples = SampleFolder(CALIBRATION, model, lambda _path, _error: None)
    make_int8(model, samples, folder, lambda *_: None)
    return folder


def load(model: Model, engine: str, precision: str, cache: Path | None = None) -> Detector:
    return Detector(
        model, build_engine(model, EngineOptions(2, engine, precision, "cpu", cache))[0]
    )


def test_there_are_photos_to_compare() -> None:
    assert len(LIST) == 6


@needs_darknet
def test_the_real_model_finds_on_a_photo_what_darknet_finds(model: Model) -> None:
    """The quick one of the tests below: a dog, a bicycle, two cars and a truck."""
    photo = PHOTOS / "dog.jpg"
    detector = load(model, "openvino", "fp32")

    theirs = ask_darknet(model, [photo])[photo]
    difference = photo_difference(detect_photo(detector, photo, exact=True), theirs, 0.5)

    assert (difference.boxes, difference.unpaired) == (5, 0)
    assert difference.pixels <= 1.0
    assert difference.score <= 0.005


@needs_darknet
@pytest.mark.long
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "uint8"])
@pytest.mark.parametrize(
    ("engine", "precision"),
    [("openvino", "fp32"), ("onnxruntime", "fp32"), ("darknet", "fp32"), ("openvino", "bf16")],
)
def test_boxes_of_every_photo_agree_with_darknet(
    model: Model, darknet: dict[Path, list[DarknetBox]], engine: str, precision: str, exact: bool
) -> None:
    if precision not in offered_precisions(engine, "cpu"):
        pytest.skip(f"this CPU has no {precision}")
    detector = load(model, engine, precision)
    pixels, score = TOLERANCES[precision][exact]

    for photo, theirs in darknet.items():
        ours = detect_photo(detector, photo, exact=exact)
        difference = photo_difference(ours, theirs, model.threshold)
        assert difference.boxes > 0
        assert difference.unpaired == 0, photo.name
        assert difference.pixels <= pixels, photo.name
        assert difference.score <= score, photo.name


@pytest.mark.long
def test_int8_on_openvino_moves_no_box_of_a_cell(model: Model, cache: Path) -> None:
    """Suppression may select another candidate of nearly the same score, as in bf16: one may."""
    evaluator = Evaluator(model, [PHOTOS, CALIBRATION], load(model, "openvino", "fp32"))

    result = evaluator.evaluate(load(model, "openvino", "int8", cache))

    assert evaluator.boxes >= 50
    assert result.network_worst >= 0.9
    assert result.agreement.moved <= 1
    # One box of 57, and one of the few of its class, is one to two points of mAP.
    assert result.loss <= 0.03


@pytest.mark.long
def test_int8_on_onnxruntime_moves_no_box_of_a_cell(model: Model, cache: Path) -> None:
    """It rounds before every activation, too: suppression may select another candidate."""
    evaluator = Evaluator(model, [PHOTOS], load(model, "openvino", "fp32"))

    result = evaluator.evaluate(load(model, "onnxruntime", "int8", cache))

    assert result.network_worst >= 0.9
    assert result.agreement.worst >= 0.7
    # One box of 17, and one of the few of its class, is two points of mAP.
    assert result.loss <= 0.03


@needs_darknet
@pytest.mark.long
def test_int8_finds_the_dog_where_darknet_finds_it(
    model: Model, cache: Path, darknet: dict[Path, list[DarknetBox]]
) -> None:
    photo = PHOTOS / "dog.jpg"
    detector = load(model, "openvino", "int8", cache)

    difference = photo_difference(detect_photo(detector, photo, exact=False), darknet[photo], 0.5)

    assert difference.unpaired == 0
    assert difference.pixels <= 8
    assert difference.score <= 0.1


@pytest.mark.long
def test_the_evaluator_finds_no_difference_between_a_detector_and_itself(model: Model) -> None:
    detector = load(model, "openvino", "fp32")

    result = Evaluator(model, [PHOTOS], detector).evaluate(detector)

    assert (result.loss, result.interval, result.network_moved) == (0, (0, 0), 0)
    assert result.network_worst == result.agreement.worst == pytest.approx(1)
    assert result.truth_loss is None


BOX: DarknetBox = (3, 0.8, (100.0, 100.0, 40.0, 40.0))


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([BOX], PhotoDifference(1, 0, 0, 0)),
        ([(3, 0.7, (102.0, 100.0, 40.0, 45.0))], PhotoDifference(1, 0, 5, 0.1)),
        ([(4, 0.8, BOX[2])], PhotoDifference(1, 2, 0, 0)),
        ([], PhotoDifference(1, 1, 0, 0)),
        ([BOX, (3, 0.3, (0.0, 0.0, 9.0, 9.0))], PhotoDifference(1, 0, 0, 0)),
        ([BOX, (3, 0.6, (130.0, 100.0, 40.0, 40.0))], PhotoDifference(1, 0, 30, 0.2)),
    ],
)
def test_differences_count_boxes_at_the_threshold_of_both_sides(
    ours: list[DarknetBox], expected: PhotoDifference
) -> None:
    result = photo_difference(ours, [BOX], 0.5)

    assert (result.boxes, result.unpaired) == (expected.boxes, expected.unpaired)
    assert (result.pixels, result.score) == pytest.approx((expected.pixels, expected.score))
