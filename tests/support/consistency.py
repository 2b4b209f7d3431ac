"""Assertions that hold for every accepted network and for every error message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.darknet.weights import Weights, read_weights
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.graph import build_graph
from tests.support.tiny import write_weights

# Larger networks take too long to build and check in a test.
SMALL_FLOATS = 100_000
SMALL_LAYERS = 60


def assert_consistent(network: Network, folder: Path) -> None:
    """Check that a network is consistent, and a small one also with ONNX's shape inference.

    Writes a .weights file to `folder`.
    """
    assert network.heads
    assert all(note.isprintable() and len(note) <= 1000 for note in network.notes)
    assert network.convolutions
    for index, layer in enumerate(network.layers):
        shape = layer.output
        assert layer.index == index
        assert min(shape.channels, shape.height, shape.width) >= 1
    for head in network.heads:
        assert head.output.channels == len(head.anchors) * head.values
        assert head.classes == network.classes
    assert network.float_count == sum(layer.float_count for layer in network.convolutions)
    if network.float_count <= SMALL_FLOATS and len(network.layers) <= SMALL_LAYERS:
        _assert_shapes(network, some_weights(network, folder))


def assert_one_line(error: ModelError) -> None:
    """Check that an error is one printable line of bounded length."""
    assert str(error).isprintable()
    assert len(str(error)) <= 1000


def some_weights(network: Network, folder: Path) -> Weights:
    """Write and read a file that fits a network."""
    path = folder / "some.weights"
    write_weights(path, np.ones(network.float_count))
    return read_weights(path, network)


def _assert_shapes(network: Network, weights: Weights) -> None:
    graph = build_graph(network, weights)
    # Raises if inferred shapes differ from the declared shapes of the heads.
    onnx.checker.check_model(graph, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    found = {value.name: value for value in [*inferred.graph.value_info, *inferred.graph.output]}
    for layer in network.layers:
        shape = layer.output
        value = found.get(f"layer{layer.index}")
        if value is not None:
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert sizes[1:] == [shape.channels, shape.height, shape.width], layer
