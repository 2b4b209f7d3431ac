"""Pairs of QuantizeLinear and DequantizeLinear, and what engines make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
import pytest

from elastic_yolo.detector.engines.openvino import read_onnx
from elastic_yolo.detector.int8.pairs import without_optional_pairs
from elastic_yolo.detector.quantise import quantise
from tests.detector.int8.graphs import HEAD, convolution, noise, write_graph

# The first two convolutions stay in float.
FIRST = 2 * convolution(8)
CHAIN = FIRST + convolution(16) + "[maxpool]\nsize=2\nstride=2\n" + 2 * convolution(16) + HEAD
BRANCHES = (
    FIRST + convolution(8) + convolution(8, activation="mish") + convolution(8, activation="swish")
    + "[shortcut]\nfrom=-2\nactivation=linear\n[maxpool]\nsize=2\nstride=2\n"
    + convolution(8, "groups=8\nsize=3\npad=1\n", "relu6")
    + "[upsample]\nstride=2\n[route]\nlayers=-1,2\n" + convolution(8, activation="logistic")
    + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + convolution(8) + HEAD
)  # fmt: skip


def kinds(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def test_onnxruntime_computes_all_but_the_outer_layers_in_integers(tmp_path: Path) -> None:
    graph, network = write_graph(CHAIN, tmp_path)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4

    ort.InferenceSession(quantise(graph, network, noise(4)).SerializeToString(), options)

    found = kinds(onnx.load(tmp_path / "optimised.onnx"))
    assert found.count("QLinearConv") == 3
    assert found.count("QLinearLeakyRelu") == 3
    # The first two convolutions, and the one before the head.
    assert found.count("Conv") + found.count("FusedConv") == 3


def test_openvino_gets_one_pair_for_each_input_of_a_convolution(tmp_path: Path) -> None:
    graph, network = write_graph(CHAIN, tmp_path)

    found = kinds(without_optional_pairs(quantise(graph, network, noise(4))))

    # Three pairs, and the filters of three convolutions.
    assert found.count("QuantizeLinear") == 3
    assert found.count("DequantizeLinear") == 3 + 3
    assert "Conv LeakyRelu QuantizeLinear DequantizeLinear MaxPool" in " ".join(found)


@pytest.mark.parametrize("layers", [CHAIN, BRANCHES], ids=["chain", "branches"])
def test_heads_stay_close_to_those_of_float(tmp_path: Path, layers: str) -> None:
    """Every kind of layer between convolutions, on both engines."""
    graph, network = write_graph(layers, tmp_path)
    quantised = quantise(graph, network, noise(16))
    other = noise(20)[-1][np.newaxis]
    (expected,) = ort.InferenceSession(graph.SerializeToString()).run(None, {"images": other})
    (there,) = ort.InferenceSession(quantised.SerializeToString()).run(None, {"images": other})
    network_here = read_onnx(without_optional_pairs(quantised))
    compiled = ov.Core().compile_model(network_here, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (here,) = compiled([other]).values()

    spread = float(expected.std())
    assert spread > 0
    for answer in (here, there):
        difference = float(np.sqrt(np.square(answer - expected).mean()))
        assert 0 < difference < 0.1 * spread


def test_a_margin_widens_the_range_of_every_activation(tmp_path: Path) -> None:
    graph, network = write_graph(CHAIN, tmp_path)

    measured, wider = (
        activation_scales(quantise(graph, network, noise(4), margin=margin)) for margin in (1, 1.25)
    )

    assert len(measured) > 3
    for name, scale in measured.items():
        assert wider[name] == pytest.approx(1.25 * scale)


def activation_scales(graph: onnx.ModelProto) -> dict[str, float]:
    """Return the scale of every QuantizeLinear by the name of its input."""
    values = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}
    return {
        node.input[0]: float(values[node.input[1]])
        for node in graph.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_the_same_pictures_give_the_same_graph(tmp_path: Path) -> None:
    graph, network = write_graph(CHAIN, tmp_path)

    first, second = (quantise(graph, network, noise(4)) for _ in range(2))

    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )
