"""Eight bits: how far the answers stay the same, and what is kept of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cli.__main__ import main
from detector.agreement import agreement
from detector.artefacts import artefact_path, read_quantised
from detector.detector import Detector
from detector.engines.choose import EngineOptions
from detector.errors import EngineError
from detector.graph import outer_nodes
from detector.loading import load_detector
from tests.tiny import write_tiny_model
from tools.stack import DEMO_MODEL, ROOT

PICTURES = ROOT / "client" / "images"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with the embedded model in int8."""
    folder = tmp_path_factory.mktemp("cache")
    arguments = ["--precision", "int8", "--cache", str(folder), "--calibration", str(PICTURES)]
    assert main(["convert", str(DEMO_MODEL), *arguments]) == 0
    return folder


@pytest.fixture(scope="module")
def exact() -> Detector:
    return load_detector(DEMO_MODEL, EngineOptions(threads=2))[0]


def test_int8_finds_what_fp32_finds(cache: Path, exact: Detector) -> None:
    small, _ = load_detector(DEMO_MODEL, EngineOptions(threads=2, precision="int8", cache=cache))
    images = [exact.prepare(path.read_bytes())[0] for path in sorted(PICTURES.glob("scene-*"))]

    found = agreement(exact, small, images)

    assert small.engine.precision == "int8"
    assert found >= 0.9
    assert found == pytest.approx(read_quantised(cache, exact.model.digest).agreement, abs=0.01)


def test_a_detector_agrees_with_itself_and_not_with_one_that_finds_nothing(exact: Detector) -> None:
    image = exact.prepare((PICTURES / "scene-08.jpg").read_bytes())[0]

    assert agreement(exact, exact, [image]) == 1
    assert agreement(exact, exact, [np.zeros_like(image)]) == 1


def test_convolutions_compute_in_integers_but_for_those_before_the_heads(
    cache: Path, exact: Detector
) -> None:
    graph = read_quantised(cache, exact.model.digest).graph.graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    outer = outer_nodes(exact.model.network)

    convolutions = [node for node in graph.node if node.op_type == "Conv"]

    assert len(convolutions) == len(exact.model.network.convolutions)
    for node in convolutions:
        in_integers = producers.get(node.input[1]) == "DequantizeLinear"
        assert in_integers == (node.name not in outer), node.name


def test_without_a_converted_model_int8_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="elastic-yolo convert --precision int8 --cache"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8", cache=tmp_path))
    with pytest.raises(EngineError, match="int8 needs a cache folder"):
        load_detector(DEMO_MODEL, EngineOptions(threads=1, precision="int8"))


def test_a_damaged_or_foreign_artefact_is_refused(cache: Path, tmp_path: Path) -> None:
    other = load_detector(write_tiny_model(tmp_path / "model"), EngineOptions(threads=1))[0]
    path = artefact_path(tmp_path, other.model.digest)
    whole = next(cache.glob("*-int8.onnx")).read_bytes()

    path.write_bytes(whole)
    with pytest.raises(EngineError, match="belongs to another model"):
        read_quantised(tmp_path, other.model.digest)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EngineError, match="is damaged"):
        read_quantised(tmp_path, other.model.digest)


def test_nothing_half_written_is_left(cache: Path) -> None:
    assert not list(cache.glob(".new-*"))
