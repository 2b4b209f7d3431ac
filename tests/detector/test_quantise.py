"""Eight bits: how far the answers stay the same, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from cli.__main__ import main
from detector.accuracy import mean_average_precision
from detector.artefacts import Shelf
from detector.conversion import find_everything, take_for_truth
from detector.detector import Detector
from detector.engines.choose import EngineOptions
from detector.engines.load import INT8, RECIPE
from detector.errors import ArtefactDamaged, EngineError
from detector.graph import outer_nodes
from detector.loading import load_detector
from detector.precision import read_report
from detector.samples import SampleFolder
from tests.tiny import write_tiny_model
from tools.stack import DEMO_MODEL, ROOT

PICTURES = ROOT / "client" / "images"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the embedded model in int8."""
    folder = tmp_path_factory.mktemp("cache")
    arguments = ["--cache", str(folder), "--calibration", str(PICTURES)]
    assert main(["convert", str(DEMO_MODEL), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def exact() -> Detector:
    return load_detector(DEMO_MODEL, EngineOptions(threads=2))[0]


@pytest.fixture(scope="module")
def samples(exact: Detector) -> SampleFolder:
    classes = exact.model.network.classes
    return SampleFolder(PICTURES, exact.network_size, classes, lambda _path, _error: None)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_int8_finds_what_fp32_finds(
    cache: Path, exact: Detector, samples: SampleFolder, engine: str
) -> None:
    """One point of mAP is what may be lost, with the boxes of fp32 for the truth."""
    options = EngineOptions(threads=2, engine=engine, precision="int8", cache=cache)
    small, choice = load_detector(DEMO_MODEL, options)

    truth = take_for_truth(find_everything(exact, samples).found, exact.model.threshold)
    found = find_everything(small, samples).found

    assert (small.engine.name, small.engine.precision, choice.precision) == (engine, "int8", "int8")
    assert sum(map(len, truth)) > 60
    assert mean_average_precision(found, truth) >= 0.99


def test_the_conversion_measures_every_precision_that_is_offered_here(
    cache: Path, exact: Detector
) -> None:
    report = read_report(Shelf(cache, exact.model.digest), RECIPE)

    assert report is not None
    assert (report.pictures, report.labelled) == (16, False)
    rows = {row.precision: row for row in report.rows}
    assert {"fp32", "int8"} <= rows.keys()
    assert (rows["fp32"].map, rows["fp32"].loss) == (1, 0)
    for row in report.rows:
        assert row.loss == pytest.approx(1 - row.map)
        assert row.loss <= 0.01
        assert row.ms > 0


def test_auto_takes_the_fastest_that_was_measured(cache: Path, exact: Detector) -> None:
    report = read_report(Shelf(cache, exact.model.digest), RECIPE)
    detector, choice = load_detector(DEMO_MODEL, EngineOptions(threads=2, cache=cache))

    assert report is not None
    fastest = min(report.rows, key=lambda row: row.ms)
    assert detector.engine.precision == choice.precision == fastest.precision
    assert "the fastest as measured on this kind of machine" in choice.why


def test_a_second_start_answers_the_same_from_what_is_kept(cache: Path, exact: Detector) -> None:
    options = EngineOptions(threads=2, precision="int8", cache=cache)
    picture = (PICTURES / "scene-08.jpg").read_bytes()
    first = load_detector(DEMO_MODEL, options)[0].detect(picture)
    kept = {path.name for path in Shelf(cache, exact.model.digest).folder.iterdir()}

    second = load_detector(DEMO_MODEL, options)[0].detect(picture)

    assert second == first
    assert {path.name for path in Shelf(cache, exact.model.digest).folder.iterdir()} == kept
    assert any(name.startswith("openvino-compiled-") for name in kept)


def test_convolutions_compute_in_integers_but_for_those_before_the_heads(
    cache: Path, exact: Detector
) -> None:
    artefact = Shelf(cache, exact.model.digest).find(INT8, RECIPE)
    assert artefact is not None
    graph = onnx.load(artefact.files["model.onnx"]).graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    outer = outer_nodes(exact.model.network)

    convolutions = [node for node in graph.node if node.op_type == "Conv"]

    assert len(convolutions) == len(exact.model.network.convolutions)
    for node in convolutions:
        in_integers = producers.get(node.input[1]) == "DequantizeLinear"
        assert in_integers == (node.name not in outer), node.name


def test_weights_have_seven_bits_so_that_no_cpu_overflows(cache: Path, exact: Detector) -> None:
    artefact = Shelf(cache, exact.model.digest).find(INT8, RECIPE)
    assert artefact is not None
    constants = onnx.load(artefact.files["model.onnx"]).graph.initializer
    weights = [numpy_helper.to_array(one) for one in constants if one.data_type == TensorProto.INT8]
    filters = [one for one in weights if one.ndim == 4]

    # Every convolution but those before the two heads.
    assert len(filters) == len(exact.model.network.convolutions) - 2
    assert all(np.abs(one.astype(int)).max() == 64 for one in filters)


def test_without_a_converted_model_int8_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="elastic-yolo convert --calibration PICTURES --cache"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8", cache=tmp_path))
    with pytest.raises(EngineError, match="int8 needs a cache folder"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8"))


def test_an_int8_version_of_another_model_is_not_found(cache: Path, tmp_path: Path) -> None:
    other = write_tiny_model(tmp_path / "model")

    with pytest.raises(EngineError, match="no int8 version of this model"):
        load_detector(other, EngineOptions(threads=1, precision="int8", cache=cache))


def test_a_damaged_int8_version_is_refused(exact: Detector, cache: Path, tmp_path: Path) -> None:
    """Nobody but its owner can make it anew: he has the pictures."""
    content = Shelf(cache, exact.model.digest).find(INT8, RECIPE)
    assert content is not None
    whole = content.files["model.onnx"].read_bytes()
    copy = Shelf(tmp_path, exact.model.digest).publish(INT8, RECIPE, {"model.onnx": whole})
    copy.files["model.onnx"].write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ArtefactDamaged, match="is not what was written"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8", cache=tmp_path))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_damaged_artefact_that_can_be_made_anew_is(tmp_path: Path, engine: str) -> None:
    options = EngineOptions(threads=1, engine=engine, precision="fp32", cache=tmp_path)
    picture = (PICTURES / "scene-08.jpg").read_bytes()
    expected = load_detector(DEMO_MODEL, options)[0].detect(picture)
    large = max(tmp_path.glob("*/*"), key=lambda path: path.stat().st_size)
    size = large.stat().st_size
    large.write_bytes(bytes(size))

    assert load_detector(DEMO_MODEL, options)[0].detect(picture) == expected
    assert large.read_bytes() != bytes(size)
