"""The other implementations find what this one finds, if pictures are resized as they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.oracle.random_weights import SEED, write_random_weights
from elastic_yolo.comparison.pairing import Tolerance, pair_detections
from elastic_yolo.comparison.references import (
    DarknetReference,
    OpenCvReference,
    Picture,
    Reference,
)
from elastic_yolo.comparison.report import Report, describe
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import read_model
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.names import Resize
from elastic_yolo.picture.errors import PictureError
from tests.support.pictures import encode, store_turned
from tests.support.real_models import real_model
from tests.support.tiny import write_tiny_model

SCENES = [ROOT / "client" / "images" / f"scene-0{number}.jpg" for number in (1, 2, 3)]
PHOTOS = sorted((ROOT / "client" / "photos").glob("*.jpg"))
BOTH: tuple[type[OpenCvReference | DarknetReference], ...] = (OpenCvReference, DarknetReference)

# One class: OpenCV keeps the best label of a box, Darknet each one above the threshold.
CFG = """[net]
width=192
height=128
channels=3

[convolutional]
batch_normalize=1
filters=12
size=3
stride=4
pad=1
activation=leaky

[convolutional]
batch_normalize=1
filters=16
size=3
stride=2
pad=1
activation=leaky

[convolutional]
filters=12
size=1
pad=1
activation=linear

[yolo]
mask=2,3
anchors=10,14, 23,27, 37,58, 81,82
classes=1
num=4

[route]
layers=-3

[maxpool]
size=2
stride=2

[convolutional]
filters=12
size=3
pad=1
activation=linear

[yolo]
mask=0,1
anchors=10,14, 23,27, 37,58, 81,82
classes=1
num=4
"""


def make(kind: type[OpenCvReference | DarknetReference], folder: Path) -> Reference:
    if kind is DarknetReference and find_libdarknet() is None:
        pytest.skip('libdarknet is missing: run "make oracle"; NOT compared with Darknet')
    return kind(read_model(folder))


def compare(
    folder: Path,
    reference: Reference,
    pictures: Sequence[Path],
    *,
    threshold: float = 0.5,
    resize: Resize | None = None,
) -> Report:
    """Compare in fp32 with exact pictures, by the reference's own resize rule."""
    model = replace(read_model(folder), resize=resize or reference.resize)
    options = EngineOptions(threads=2, engine="openvino", precision="fp32")
    detector = Detector(model, build_engine(model, options)[0])
    report = Report(Tolerance())
    for path in pictures:
        picture = Picture(path, path.read_bytes())
        theirs = reference.detect(picture, threshold - 0.01, 0.45)
        ours = detector.detect(picture.data, threshold - 0.01, 0.45, exact=True)
        report.add(path.name, pair_detections(theirs, ours, threshold, report.tolerance))
    return report


@pytest.mark.parametrize("kind", BOTH)
def test_the_embedded_model_finds_the_same_boxes(
    kind: type[OpenCvReference | DarknetReference],
) -> None:
    report = compare(DEMO_MODEL, make(kind, DEMO_MODEL), SCENES)

    assert report.totals["same"] > 10
    assert report.differences == []


@pytest.mark.parametrize("kind", BOTH)
def test_a_network_with_random_weights_finds_the_same_boxes(
    kind: type[OpenCvReference | DarknetReference], tmp_path: Path
) -> None:
    """Two heads, hundreds of boxes of which NMS removes some, a network that is not square."""
    folder = tmp_path / "random"
    folder.mkdir()
    cfg = folder / "random.cfg"
    cfg.write_text(CFG)
    (folder / "random.names").write_text("thing\n")
    write_random_weights(cfg, folder / "random.weights", SEED)

    report = compare(folder, make(kind, folder), PHOTOS[:2], threshold=0.3)

    assert report.totals["same"] > 100
    assert report.differences == []


@pytest.mark.parametrize("kind", BOTH)
def test_the_trained_yolov3_tiny_finds_the_same_boxes(
    kind: type[OpenCvReference | DarknetReference],
) -> None:
    """OpenCV stretches and Darknet letterboxes; within 1 px and 0.01 of score."""
    folder = real_model("yolov3-tiny")

    report = compare(folder, make(kind, folder), PHOTOS)

    assert report.pictures == 6
    assert describe(report.totals)["theirs"] == 17
    assert report.differences == []
    assert report.largest_px <= 1
    assert report.largest_score <= 0.01


def test_letterboxed_pictures_differ_from_opencv() -> None:
    """The comparison finds differences where there are some."""
    folder = real_model("yolov3-tiny")

    report = compare(folder, OpenCvReference(read_model(folder)), PHOTOS, resize="letterbox")

    dogs = [one for one in report.differences if one.picture == "dog.jpg"]
    theirs = {one.pair.theirs.label: one.pair.theirs.score for one in dogs if one.pair.theirs}
    assert theirs == {
        "dog": pytest.approx(0.829, abs=0.002),
        "car": pytest.approx(0.725, abs=0.002),
        "truck": pytest.approx(0.582, abs=0.002),
    }
    ours = [(one.pair.ours.label, one.kind) for one in dogs if one.pair.ours]
    assert ("bicycle", "gained") in ours
    assert ("dog", "moved") in ours


@pytest.mark.parametrize("kind", BOTH)
def test_a_reference_sees_the_upright_picture(
    kind: type[OpenCvReference | DarknetReference], tmp_path: Path
) -> None:
    """The same pixels as PNG, and stored on their side with an Exif orientation."""
    reference = make(kind, DEMO_MODEL)
    upright = cv2.cvtColor(cv2.imread(str(SCENES[0])), cv2.COLOR_BGR2RGB)
    turned = encode(np.ascontiguousarray(store_turned(upright, 6)), "PNG", orientation=6)

    one = reference.detect(Picture(tmp_path / "a.png", encode(upright)), 0.5, 0.45)
    other = reference.detect(Picture(tmp_path / "b.png", turned), 0.5, 0.45)

    assert len(one) > 3
    assert one == other


@pytest.mark.parametrize("kind", BOTH)
def test_a_damaged_picture_does_not_end_the_process(
    kind: type[OpenCvReference | DarknetReference],
) -> None:
    """Darknet's own decoder would exit."""
    reference = make(kind, DEMO_MODEL)

    with pytest.raises(PictureError):
        reference.detect(Picture(Path("x.jpg"), SCENES[0].read_bytes()[:500]), 0.5, 0.45)


def test_darknet_refuses_a_network_of_the_fork(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    cfg = folder / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("num=1", "num=1\nscale_x_y=1.1"))
    if find_libdarknet() is None:
        pytest.skip("libdarknet is missing: its limits are NOT tested")

    with pytest.raises(
        EngineError, match=r"Darknet does not support the layer in line \d+ of tiny"
    ):
        DarknetReference(read_model(folder))


def test_opencv_refuses_what_it_cannot_load_in_one_line(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    model = read_model(folder)
    model.weights_file.unlink()

    with pytest.raises(EngineError, match=r"OpenCV [\d.]+\S* cannot load tiny\.cfg") as raised:
        OpenCvReference(model)

    assert "\n" not in str(raised.value)
