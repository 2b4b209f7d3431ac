"""The mean and variance of each convolution's output when it is normalized by just those.

Ioffe and Szegedy, "Batch Normalization", 2015, section 3.1, for a batch of one picture. The engine
does it layer by layer in one run: behind every convolution the graph gets nodes that measure its
output, normalise it, and hand mean and variance out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from elastic_yolo.detector.boxes import Floats, Pixels
from elastic_yolo.detector.darknet.layers import Convolutional, Network
from elastic_yolo.detector.darknet.weights import ConvolutionWeights, Weights
from elastic_yolo.detector.graph import build_graph


@dataclass(frozen=True)
class Drawn:
    """A convolution before normalization, with its scales (n,) and biases (n,)."""

    filters: Floats
    scales: Floats
    biases: Floats


@dataclass(frozen=True)
class Statistics:
    """The mean and variance of each channel of a convolution, each (n,) float32."""

    means: Floats
    variances: Floats


def measure(network: Network, drawn: dict[int, Drawn], picture: Pixels) -> dict[int, Statistics]:
    """Run the network on one picture (height, width, 3) and return the statistics by layer."""
    convolutions = {
        index: ConvolutionWeights(part.filters, np.zeros_like(part.biases), None)
        for index, part in drawn.items()
    }
    model = build_graph(network, Weights((0, 2, 5), 0, convolutions))
    _normalise(model.graph, network, drawn)
    found = _run(model, picture)[len(network.heads) :]
    pairs = zip(network.convolutions, found[::2], found[1::2], strict=True)
    return {
        layer.index: Statistics(_of_each(layer, means), _of_each(layer, variances))
        for layer, means, variances in pairs
    }


def _normalise(graph: onnx.GraphProto, network: Network, drawn: dict[int, Drawn]) -> None:
    """Insert a normalization between each convolution and its consumers."""
    layers = {f"layer{layer.index}_conv": layer for layer in network.convolutions}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        layer = layers.get(node.output[0])
        if layer is not None:
            name = node.output[0]
            node.output[0] = f"{name}_raw"
            nodes += _normalisation(name)
            part = drawn[layer.index]
            graph.initializer.extend(_constants(name, layer, part))
            graph.output.extend(
                helper.make_tensor_value_info(f"{name}_{what}", TensorProto.FLOAT, None)
                for what in ("mean", "variance")
            )
    del graph.node[:]
    graph.node.extend(nodes)


def _normalisation(name: str) -> list[onnx.NodeProto]:
    """Return nodes from `name`_raw to `name` with outputs `name`_mean and `name`_variance."""

    def node(kind: str, inputs: str, output: str) -> onnx.NodeProto:
        names = [f"{name}_{word}" for word in inputs.split()]
        return helper.make_node(kind, names, [f"{name}_{output}" if output else name])

    return [
        node("ReduceMean", "raw axes", "mean"),
        node("Sub", "raw mean", "centred"),
        node("Mul", "centred centred", "squares"),
        node("ReduceMean", "squares axes", "own"),
        # A channel that hardly differs from place to place would be blown up by its own alone.
        node("ReduceMean", "own channels", "common"),
        node("Mean", "own common", "variance"),
        node("Sqrt", "variance", "deviation"),
        node("Div", "centred deviation", "unit"),
        node("Mul", "unit scale", "scaled"),
        node("Add", "scaled bias", ""),
    ]


def _constants(name: str, layer: Convolutional, drawn: Drawn) -> list[onnx.TensorProto]:
    # Of a single pixel there is no variance but that between channels.
    single = layer.output.height * layer.output.width == 1
    values = {
        "axes": np.array([1, 2, 3] if single else [2, 3]),
        "channels": np.array([1]),
        "scale": drawn.scales[:, None, None],
        "bias": drawn.biases[:, None, None],
    }
    return [numpy_helper.from_array(value, f"{name}_{key}") for key, value in values.items()]


def _run(model: onnx.ModelProto, picture: Pixels) -> list[Floats]:
    import openvino as ov  # noqa: PLC0415  # after detector, which disables its telemetry

    core = ov.Core()
    network = core.read_model(model.SerializeToString())
    compiled = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    images = picture[np.newaxis].astype(compiled.input(0).element_type.to_dtype())
    found = compiled([images])
    return [np.array(found[port], np.float32) for port in compiled.outputs]


def _of_each(layer: Convolutional, values: Floats) -> Floats:
    """Return (n,) values with three digits, the same on every engine and processor."""
    rounded = values.reshape(-1).astype(np.float16).astype(np.float32)
    return np.broadcast_to(rounded, layer.output.channels)
