"""int8: agreement with fp32, and its cached artefacts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from elastic_yolo.cli.__main__ import main
from elastic_yolo.detector.accuracy import mean_average_precision
from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.conversion import (
    detect_all,
    make_int8,
    measure_precisions,
    pseudo_labels,
)
from elastic_yolo.detector.darknet.cfg import parse_cfg
from elastic_yolo.detector.darknet.plan import plan_network
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.engines.load import INT8, INT8_RECIPE
from elastic_yolo.detector.errors import ArtefactDamaged, EngineError, SampleError
from elastic_yolo.detector.graph import float_nodes
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.precision import read_report
from elastic_yolo.detector.quantise import first_nodes
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

PICTURES = ROOT / "client" / "images"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder with the int8 version of the embedded model."""
    folder = tmp_path_factory.mktemp("cache")
    arguments = ["--cache", str(folder), "--calibration", str(PICTURES)]
    assert main(["convert", str(DEMO_MODEL), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def exact() -> Detector:
    return load_detector(DEMO_MODEL, EngineOptions(threads=2))[0]


@pytest.fixture(scope="module")
def samples(exact: Detector) -> SampleFolder:
    return SampleFolder(PICTURES, exact.model, lambda _path, _error: None)


def test_int8_of_letterboxed_pictures_is_not_used_for_stretched_ones(cache: Path) -> None:
    """Neither its calibration nor its measured accuracy holds for the other rule."""
    options = EngineOptions(threads=2, cache=cache)

    _, choice = load_detector(DEMO_MODEL, options, resize="stretch")

    assert choice.precision == "fp32"
    assert "no other precision has been measured" in choice.why
    with pytest.raises(EngineError, match="no int8 version of this model"):
        load_detector(DEMO_MODEL, replace(options, precision="int8"), resize="stretch")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_int8_boxes_agree_with_fp32(
    cache: Path, exact: Detector, samples: SampleFolder, engine: str
) -> None:
    """The loss is at most one point of mAP, with the boxes of fp32 as the truth."""
    options = EngineOptions(threads=2, engine=engine, precision="int8", cache=cache)
    small, choice = load_detector(DEMO_MODEL, options)

    truth = pseudo_labels(detect_all(exact, samples), exact.model.threshold)
    found = detect_all(small, samples)

    assert (small.engine.name, small.engine.precision, choice.precision) == (engine, "int8", "int8")
    assert sum(map(len, truth)) > 60
    assert mean_average_precision(found, truth) >= 0.99


def test_conversion_measures_every_offered_precision(cache: Path, exact: Detector) -> None:
    report = read_report(ModelCache(cache, exact.model.cache_key), INT8_RECIPE)

    assert report is not None
    assert (report.pictures, report.labelled) == (16, False)
    rows = {row.precision: row for row in report.rows}
    assert {"fp32", "int8"} <= rows.keys()
    assert (rows["fp32"].map, rows["fp32"].loss) == (1, 0)
    for row in report.rows:
        assert row.loss == pytest.approx(1 - row.map)
        assert row.loss <= 0.01
        assert row.ms > 0


def test_auto_selects_the_fastest_measured_precision(cache: Path, exact: Detector) -> None:
    report = read_report(ModelCache(cache, exact.model.cache_key), INT8_RECIPE)
    detector, choice = load_detector(DEMO_MODEL, EngineOptions(threads=2, cache=cache))

    assert report is not None
    fastest = min(report.rows, key=lambda row: row.ms)
    assert detector.engine.precision == choice.precision == fastest.precision
    assert "the fastest measured on this kind of machine" in choice.why


def test_a_start_from_the_cache_gives_the_same_detections(cache: Path, exact: Detector) -> None:
    options = EngineOptions(threads=2, precision="int8", cache=cache)
    picture = (PICTURES / "scene-08.jpg").read_bytes()
    first = load_detector(DEMO_MODEL, options)[0].detect(picture)
    kept = {path.name for path in ModelCache(cache, exact.model.cache_key).folder.iterdir()}

    second = load_detector(DEMO_MODEL, options)[0].detect(picture)

    assert second == first
    assert {path.name for path in ModelCache(cache, exact.model.cache_key).folder.iterdir()} == kept
    assert any(name.startswith("openvino-compiled-") for name in kept)


def test_all_convolutions_but_the_outer_ones_are_int8(cache: Path, exact: Detector) -> None:
    artefact = ModelCache(cache, exact.model.cache_key).load(INT8, INT8_RECIPE)
    assert artefact is not None
    graph = onnx.load(artefact.files["model.onnx"]).graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    network = exact.model.network
    outer = [*first_nodes(network), *float_nodes(network)]

    convolutions = [node for node in graph.node if node.op_type == "Conv"]

    assert len(convolutions) == len(exact.model.network.convolutions)
    for node in convolutions:
        in_integers = producers.get(node.input[1]) == "DequantizeLinear"
        assert in_integers == (node.name not in outer), node.name


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ("", "layer2_conv"),
        ("[route]\nlayers=-2\n", "layer1_conv"),
        ("[shortcut]\nfrom=-2\nactivation=linear\n", "layer1_conv layer2_conv"),
        ("[dropout]\n[route]\nlayers=-1,-2\n[route]\nlayers=-1\ngroups=2\n", "layer2_conv"),
    ],
)
def test_float_nodes_are_the_convolutions_that_feed_a_head(between: str, expected: str) -> None:
    """They are not simply the previous layers of the file."""
    convolution = "[convolutional]\nfilters=7\nactivation=linear\n"
    text = (
        f"[net]\nwidth=32\nheight=32\nchannels=3\n{3 * convolution}{between}"
        "[yolo]\nclasses=2\nnum=1\nanchors=5,5\n"
    )

    network = plan_network(parse_cfg(text))

    assert float_nodes(network)[3:] == expected.split()


def test_weights_have_seven_bits_so_that_no_cpu_overflows(cache: Path, exact: Detector) -> None:
    artefact = ModelCache(cache, exact.model.cache_key).load(INT8, INT8_RECIPE)
    assert artefact is not None
    constants = onnx.load(artefact.files["model.onnx"]).graph.initializer
    weights = [numpy_helper.to_array(one) for one in constants if one.data_type == TensorProto.INT8]
    filters = [one for one in weights if one.ndim == 4]

    # All convolutions except the first two and those before the two heads.
    assert len(filters) == len(exact.model.network.convolutions) - 4
    assert all(np.abs(one.astype(int)).max() == 64 for one in filters)


def test_int8_without_a_converted_model_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="elastic-yolo convert --calibration PICTURES --cache"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8", cache=tmp_path))
    with pytest.raises(EngineError, match="int8 needs a cache folder"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8"))


def test_float_pixels_work_after_the_cache_was_deleted(cache: Path, tmp_path: Path) -> None:
    """The engine builds the graph for float pixels on first use."""
    copy = shutil.copytree(cache, tmp_path / "cache")
    options = EngineOptions(threads=2, engine="onnxruntime", precision="int8", cache=copy)
    detector, _ = load_detector(DEMO_MODEL, options)
    shutil.rmtree(copy)

    picture = (PICTURES / "scene-08.jpg").read_bytes()
    found = detector.detect(picture, exact=True)

    undisturbed, _ = load_detector(DEMO_MODEL, replace(options, cache=cache))
    assert found == undisturbed.detect(picture, exact=True)
    assert found != undisturbed.detect(picture)


def test_auto_ignores_missing_and_damaged_artefacts(cache: Path, tmp_path: Path) -> None:
    """With `auto`, damaged artefacts cost speed only; PRECISION=int8 refuses them."""
    copy = shutil.copytree(cache, tmp_path / "cache")
    (report,) = copy.glob("*/accuracy.json")
    report.write_text("damaged")

    detector, choice = load_detector(DEMO_MODEL, EngineOptions(threads=2, cache=copy))

    assert detector.engine.precision == choice.precision == "fp32"
    assert "the accuracy report is damaged: " in choice.why


def test_auto_selects_fp32_if_the_int8_version_is_deleted(cache: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache, tmp_path / "cache")
    (int8,) = copy.glob("*/onnx-int8.json")
    int8.unlink()
    # Without measured milliseconds, int8 is first in the usual order.
    options = EngineOptions(threads=2, engine="onnxruntime", cache=copy)

    detector, choice = load_detector(DEMO_MODEL, options)

    assert detector.engine.precision == choice.precision == "fp32"
    assert "fp32 instead: no int8 version of this model" in choice.why


def test_pictures_without_objects_cannot_be_measured(tmp_path: Path) -> None:
    (tmp_path / "grey.png").write_bytes(encode(plain(416, 416, (128, 128, 128))))
    model = read_model(DEMO_MODEL)
    samples = SampleFolder(tmp_path, model, lambda _path, _error: None)
    options = EngineOptions(threads=2, cache=tmp_path / "cache")
    make_int8(model, samples, tmp_path / "cache", lambda *_: None)

    with pytest.raises(SampleError, match="the pictures contain no objects"):
        measure_precisions(model, samples, options, lambda *_: None)


def test_only_the_named_precisions_are_measured(tmp_path: Path, samples: SampleFolder) -> None:
    """Without an int8 version, and without the package that makes one."""
    options = EngineOptions(threads=2, engine="onnxruntime", cache=tmp_path)
    model = read_model(DEMO_MODEL)

    report = measure_precisions(model, samples, options, lambda *_: None, ["fp32"])

    assert [(row.precision, row.loss) for row in report.rows] == [("fp32", 0.0)]
    assert read_report(ModelCache(tmp_path, model.cache_key), INT8_RECIPE) == report


def test_every_precision_passes_the_golden_picture(cache: Path, exact: Detector) -> None:
    report = read_report(ModelCache(cache, exact.model.cache_key), INT8_RECIPE)

    assert report is not None
    assert all(row.golden for row in report.rows)


def test_an_int8_version_of_another_model_is_not_found(cache: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "model")

    with pytest.raises(EngineError, match="no int8 version of this model"):
        load_detector(other, EngineOptions(threads=1, precision="int8", cache=cache))


def test_a_damaged_int8_version_is_refused(exact: Detector, cache: Path, tmp_path: Path) -> None:
    """Only `convert` can make it again, because it needs the pictures."""
    content = ModelCache(cache, exact.model.cache_key).load(INT8, INT8_RECIPE)
    assert content is not None
    whole = content.files["model.onnx"].read_bytes()
    copy = ModelCache(tmp_path, exact.model.cache_key).publish(
        INT8, INT8_RECIPE, {"model.onnx": whole}
    )
    copy.files["model.onnx"].write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ArtefactDamaged, match="wrong digest of"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8", cache=tmp_path))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_damaged_artefact_is_made_again(tmp_path: Path, engine: str) -> None:
    options = EngineOptions(threads=1, engine=engine, precision="fp32", cache=tmp_path)
    picture = (PICTURES / "scene-08.jpg").read_bytes()
    expected = load_detector(DEMO_MODEL, options)[0].detect(picture)
    large = max(tmp_path.glob("*/*"), key=lambda path: path.stat().st_size)
    size = large.stat().st_size
    large.write_bytes(bytes(size))

    assert load_detector(DEMO_MODEL, options)[0].detect(picture) == expected
    assert large.read_bytes() != bytes(size)
