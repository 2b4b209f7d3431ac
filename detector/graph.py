"""Build an ONNX graph from a Darknet network and its weights.

The graph takes pictures as they are, uint8 (n, height, width, 3) RGB, and answers for each head
the values that enter its [yolo] layer, float32 (n, anchors * (5 + classes), rows, columns).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from detector.darknet.layers import (
    Convolutional,
    Layer,
    Maxpool,
    Network,
    Route,
    Shape,
    Shortcut,
    Upsample,
    Yolo,
)
from detector.darknet.weights import Weights

INPUT_NAME = "images"
_OPSET = 17
_IR_VERSION = 8
# src/activations.h: leaky_activate multiplies negative values by 0.1.
_LEAKY_SLOPE = 0.1


@dataclass
class _Nodes:
    """The nodes and constants of a graph that grows."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        """Add a constant tensor and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name


def build_graph(network: Network, weights: Weights) -> onnx.ModelProto:
    """Return the ONNX model of `network` (opset 17, any batch size)."""
    graph = _Nodes()
    previous = _add_input(graph)
    outputs: list[str] = []
    heads: list[onnx.ValueInfoProto] = []
    for layer in network.layers:
        previous = _add_layer(graph, layer, previous, outputs, weights)
        outputs.append(previous)
        if isinstance(layer, Yolo):
            heads.append(_value(previous, TensorProto.FLOAT, layer.output))
    images = helper.make_tensor_value_info(
        INPUT_NAME, TensorProto.UINT8, ["n", network.input.height, network.input.width, 3]
    )
    onnx_graph = helper.make_graph(
        graph.nodes, network.name, [images], heads, initializer=graph.constants
    )
    return helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="elastic-yolo",
    )


def _add_input(graph: _Nodes) -> str:
    as_float = graph.add("Cast", [INPUT_NAME], "images_float", to=TensorProto.FLOAT)
    channels_first = graph.add("Transpose", [as_float], "images_nchw", perm=[0, 3, 1, 2])
    full_scale = graph.constant("full_scale", np.array(255, np.float32))
    return graph.add("Div", [channels_first, full_scale], "input")


def _add_layer(
    graph: _Nodes, layer: Layer, previous: str, outputs: list[str], weights: Weights
) -> str:
    name = f"layer{layer.index}"
    match layer:
        case Convolutional():
            return _add_convolution(graph, layer, previous, weights)
        case Maxpool():
            return _add_maxpool(graph, layer, previous)
        case Upsample():
            scales = np.array([1, 1, layer.stride, layer.stride], np.float32)
            return graph.add(
                "Resize",
                [previous, "", graph.constant(f"{name}_scales", scales)],
                name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        case Route():
            return graph.add("Concat", [outputs[i] for i in layer.sources], name, axis=1)
        case Shortcut():
            total = graph.add("Add", [previous, outputs[layer.source]], f"{name}_sum")
            return _add_activation(graph, layer.activation, total, name)
        case Yolo():
            return graph.add("Identity", [previous], name)


def _add_convolution(graph: _Nodes, layer: Convolutional, previous: str, weights: Weights) -> str:
    name = f"layer{layer.index}"
    filters, biases = weights.convolutions[layer.index].folded()
    inputs = [
        previous,
        graph.constant(f"{name}_filters", filters),
        graph.constant(f"{name}_biases", biases),
    ]
    output = graph.add(
        "Conv",
        inputs,
        f"{name}_conv",
        kernel_shape=[layer.size] * 2,
        strides=[layer.stride] * 2,
        pads=[layer.padding] * 4,
        group=layer.groups,
    )
    return _add_activation(graph, layer.activation, output, name)


def _add_maxpool(graph: _Nodes, layer: Maxpool, previous: str) -> str:
    before = layer.padding // 2

    def after(size_in: int, size_out: int) -> int:
        return max(0, (size_out - 1) * layer.stride + layer.size - size_in - before)

    return graph.add(
        "MaxPool",
        [previous],
        f"layer{layer.index}",
        kernel_shape=[layer.size] * 2,
        strides=[layer.stride] * 2,
        pads=[
            before,
            before,
            after(layer.input.height, layer.output.height),
            after(layer.input.width, layer.output.width),
        ],
    )


def _add_activation(graph: _Nodes, activation: str, previous: str, name: str) -> str:
    match activation:
        case "leaky":
            return graph.add("LeakyRelu", [previous], name, alpha=_LEAKY_SLOPE)
        case "relu":
            return graph.add("Relu", [previous], name)
        case "logistic":
            return graph.add("Sigmoid", [previous], name)
        case _:
            return graph.add("Identity", [previous], name)


def _value(name: str, kind: int, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, kind, ["n", shape.channels, shape.height, shape.width]
    )
