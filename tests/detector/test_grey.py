"""Networks with channels=1: they see the grey values of pictures in colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from elastic_yolo.comparison.references import DarknetReference, OpenCvReference, Picture
from elastic_yolo.detector.conversion import make_int8
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.engines.libdarknet import LibDarknet, find_libdarknet
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.samples import SampleList
from tests.support.pictures import encode
from tests.support.tiny import write_weights

needs_libdarknet = pytest.mark.skipif(
    find_libdarknet() is None, reason='run "make oracle"; NOT compared with Darknet'
)
CFG = """[net]
width=64
height=32
channels={channels}
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=14
size=3
stride=2
pad=1
activation=linear
[yolo]
mask=0,1
anchors=10,8, 20,16
classes=2
num=2
"""
FIRST = 4 * 8


def write(folder: Path, channels: int) -> Model:
    """Write a network with 1 channel, or one with 3 that is equal to it by arithmetic."""
    folder.mkdir()
    random = np.random.default_rng(3)
    statistics = random.uniform(0.5, 1.5, FIRST)
    filters = random.normal(size=(8, 1, 3, 3))
    if channels == 3:
        filters = filters * np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)
    rest = 0.05 * random.normal(size=14 + 14 * 8 * 9)
    (folder / "grey.cfg").write_text(CFG.format(channels=channels))
    (folder / "grey.names").write_text("square\ncircle\n")
    write_weights(folder / "grey.weights", np.concatenate([statistics, filters.ravel(), rest]))
    return read_model(folder)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return write(tmp_path / "grey", 1)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def heads(model: Model, image: np.ndarray, engine: str) -> np.ndarray:
    loaded, _ = build_engine(model, EngineOptions(threads=1, engine=engine))
    return loaded.execute(image[np.newaxis])[0][0]


@pytest.mark.parametrize(
    "engine", ["openvino", "onnxruntime", pytest.param("darknet", marks=needs_libdarknet)]
)
def test_a_grey_network_weighs_colours_as_a_jpeg_does(
    model: Model, image: np.ndarray, tmp_path: Path, engine: str
) -> None:
    """Y = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    equal = write(tmp_path / "colour", 3)

    found = heads(model, image, engine)

    np.testing.assert_allclose(found, heads(equal, image, "openvino"), rtol=1e-3, atol=1e-4)


def test_a_grey_network_agrees_with_opencvs_importer(model: Model, image: np.ndarray) -> None:
    """OpenCV loads grey pictures in whole levels, as the fork does: half a level is the limit."""
    net = cv2.dnn.readNetFromDarknet(str(model.cfg), str(model.weights_file))
    net.enableFusion(False)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    net.setInput(cv2.dnn.blobFromImage(grey, 1 / 255))
    turned = [name for name in net.getLayerNames() if name.startswith("permute_")]
    theirs = net.forward(turned[0])[0].transpose(2, 0, 1)

    ours = heads(model, np.dstack([grey] * 3), "openvino")

    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
    assert np.abs(heads(model, image, "openvino") - theirs).max() < 0.1 * np.abs(theirs).max()


@needs_libdarknet
def test_darknet_loads_the_same_grey_values_from_a_file(model: Model, tmp_path: Path) -> None:
    """Its own decoder gives the grey levels that a grey PNG has."""
    levels = np.random.default_rng(5).integers(0, 256, (32, 64), dtype=np.uint8)
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), levels)

    with LibDarknet(model.cfg, model.weights_file) as library:
        boxed = library.letterbox(path)

    np.testing.assert_allclose(boxed[..., 0], levels / 255, atol=1e-6)
    assert boxed.shape == (32, 64, 1)


def test_a_picture_is_detected_in_as_in_its_grey_copy(model: Model, image: np.ndarray) -> None:
    engine, _ = build_engine(model, EngineOptions(threads=1, engine="onnxruntime"))
    detector = Detector(model, engine)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)

    in_colour = detector.detect(encode(image), 0.2)
    in_grey = detector.detect(encode(np.dstack([grey] * 3)), 0.2)

    # One level is the largest difference of two roundings.
    np.testing.assert_allclose(in_colour[0].box, in_grey[0].box, atol=0.2)
    np.testing.assert_allclose(in_colour[0].score, in_grey[0].score, atol=0.005)


@pytest.mark.parametrize(
    "kind", [OpenCvReference, pytest.param(DarknetReference, marks=needs_libdarknet)]
)
def test_compare_gives_the_other_program_grey_pixels(
    model: Model, image: np.ndarray, tmp_path: Path, kind: type
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(encode(image))
    reference = kind(model)
    stated = read_model(model.folder, reference.resize)
    engine, _ = build_engine(stated, EngineOptions(threads=1, engine="openvino"))

    ours = Detector(stated, engine).detect(path, 0.2, exact=True)
    theirs = reference.detect(Picture(path, path.read_bytes()), 0.2, stated.iou)

    best, other = max(ours, key=lambda one: one.score), max(theirs, key=lambda one: one.score)
    assert best.label == other.label
    np.testing.assert_allclose(best.box, other.box, atol=0.5)
    np.testing.assert_allclose(best.score, other.score, atol=0.01)


def test_a_grey_network_has_an_int8_version(
    model: Model, image: np.ndarray, tmp_path: Path
) -> None:
    samples = SampleList([image, np.flip(image), np.flip(image, 0), np.flip(image, 1)])
    make_int8(model, samples, tmp_path / "cache", lambda *_: None)
    options = EngineOptions(
        threads=1, engine="onnxruntime", precision="int8", cache=tmp_path / "cache"
    )
    engine, _ = build_engine(model, options)

    found = engine.execute(image[np.newaxis])[0][0]

    exact = heads(model, image, "onnxruntime")
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_other_numbers_of_channels_are_refused(model: Model) -> None:
    model.cfg.write_text(CFG.format(channels=4))

    with pytest.raises(Exception, match="expected channels=3, or 1 for grey pictures"):
        read_model(model.folder)
