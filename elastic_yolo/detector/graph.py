"""Build an ONNX graph from a Darknet network and its weights.

Input: pictures as uint8 (n, height, width, 3), RGB; a network with one channel sees their grey
values. Outputs: for each head the values that enter
its [yolo] or [region] layer, float32 (n, anchors * values, rows, columns), where `Head.values` is
the number of values of one box. Decoding is not part of the graph:
docs/decisions/008-heads-outside-the-graph.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from elastic_yolo.detector.darknet.fork import needs_fork
from elastic_yolo.detector.darknet.layers import (
    Convolutional,
    GlobalAverage,
    Head,
    Layer,
    Multiply,
    Network,
    PassThrough,
    Pool,
    Reorg,
    Route,
    Shape,
    Shortcut,
    SpaceToDepth,
    Upsample,
)
from elastic_yolo.detector.darknet.weights import Weights
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.inputs import GREY_WEIGHTS

INPUT_NAME = "images"
# The first opset with Mish.
_OPSET = 18
_IR_VERSION = 8
# src/activations.h: leaky_activate multiplies negative values by 0.1; selu has rounded constants.
_ATTRIBUTES = {
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "selu": ("Selu", {"alpha": 1.6732, "gamma": 1.0507}),
    "tanh": ("Tanh", {}),
    "logistic": ("Sigmoid", {}),
    "mish": ("Mish", {}),
}


def build_graph(network: Network, weights: Weights, *, half: bool = False) -> onnx.ModelProto:
    """Return the ONNX model of `network`, with a free batch size.

    With `half` everything between pixels and heads is float16; raises EngineError if float16 cannot
    hold a weight.
    """
    graph = _Graph(network, weights, half=half)
    graph.add_input()
    for layer in network.layers:
        graph.add_layer(layer)
    images = helper.make_tensor_value_info(
        INPUT_NAME, TensorProto.UINT8, ["n", network.input.height, network.input.width, 3]
    )
    heads = [_value(graph.head(head.index), head.output) for head in network.heads]
    onnx_graph = helper.make_graph(
        graph.nodes, network.name, [images], heads, initializer=graph.constants
    )
    return helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="elastic-yolo",
    )


def accept_float_input(graph: onnx.ModelProto) -> None:
    """Change a graph in place to take float32 pixels from 0 to 255 instead of uint8."""
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    # The types of inner values, which a tool may have inferred, are outdated.
    del graph.graph.value_info[:]


def float_nodes(network: Network) -> list[str]:
    """Return the names of the nodes that int8 quantisation leaves in float.

    These are the nodes that prepare the input and the last convolution before each head.
    """
    left = [head.index - 1 for head in network.heads]
    seen: set[int] = set()
    while left:
        index = left.pop()
        if index < 0 or index in seen:
            continue
        seen.add(index)
        match network.layers[index]:
            case Convolutional():
                pass
            case Route(sources=sources):
                left += sources
            case Shortcut(sources=sources):
                left += (index - 1, *sources)
            case Multiply(source=source):
                left += (index - 1, source)
            case _:
                left.append(index - 1)
    convolutions = (layer.index for layer in network.convolutions if layer.index in seen)
    names = [f"layer{index}_conv" for index in convolutions]
    grey = ["grey"] if network.input.channels == 1 else []
    return ["images_nchw", "images_float", "input", *grey, *names]


class _Graph:
    """Builds a graph layer by layer; `outputs[i]` is the name of layer i's output tensor."""

    def __init__(self, network: Network, weights: Weights, *, half: bool) -> None:
        self.network = network
        self.weights = weights
        self.float = np.dtype(np.float16 if half else np.float32)
        self.fork = needs_fork(network)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[str] = []
        self.previous = ""

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.generic] | float | list[int]) -> str:
        """Add a constant, int64 for a list or else the graph's float type; returns its name."""
        kind = np.dtype(np.int64) if isinstance(value, list) else self.float
        with np.errstate(over="ignore"):  # checked right below
            array = np.ascontiguousarray(value, kind).reshape(np.shape(value))
        if not np.isfinite(array).all():
            raise EngineError(f"fp16 cannot hold the values of {name}")
        return self._add(name, array)

    def _add(self, name: str, array: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add_input(self) -> None:
        """Add the nodes that turn interleaved RGB pixels into planes of values from 0 to 1.

        Grey values are computed here, behind the resizing: both are linear, and every caller sends
        the same pixels to every network.
        """
        planes = self.node("Transpose", [INPUT_NAME], "images_nchw", perm=[0, 3, 1, 2])
        kind = helper.np_dtype_to_tensor_dtype(self.float)
        floats = self.node("Cast", [planes], "images_float", to=kind)
        self.previous = self.node("Div", [floats, self.constant("full_scale", 255.0)], "input")
        if self.network.input.channels == 1:
            weights = np.array(GREY_WEIGHTS, np.float32).reshape(1, 3, 1, 1)
            inputs = [self.previous, self.constant("grey_weights", weights)]
            self.previous = self.node("Conv", inputs, "grey", kernel_shape=[1, 1])

    def head(self, index: int) -> str:
        """Return the output of a head, cast to float32 in a float16 graph."""
        output = self.outputs[index]
        if self.float == np.float32:
            return output
        return self.node("Cast", [output], f"{output}_float", to=TensorProto.FLOAT)

    def add_layer(self, layer: Layer) -> None:
        """Append the nodes of one layer."""
        name = f"layer{layer.index}"
        match layer:
            case Convolutional():
                output = self._convolution(layer, name)
            case Pool():
                output = self._pool(layer, name)
            case GlobalAverage():
                output = self.node("GlobalAveragePool", [self.previous], name)
            case Upsample():
                output = self._upsample(layer, name)
            case Route():
                output = self._route(layer, name)
            case Shortcut():
                output = self._shortcut(layer, name)
            case Multiply():
                factors = [self.previous, self.outputs[layer.source]]
                product = self.node("Mul", factors, f"{name}_product")
                output = self._activate(layer.activation, product, name)
            case Reorg() | SpaceToDepth():
                output = self._reorg(layer, name)
            case PassThrough() | Head():
                output = self.node("Identity", [self.previous], name)
        self.outputs.append(output)
        self.previous = output

    def _convolution(self, layer: Convolutional, name: str) -> str:
        filters, biases = self.weights.convolutions[layer.index].folded(fork=self.fork)
        inputs = [
            self.previous,
            self.constant(f"{name}_filters", filters),
            self.constant(f"{name}_biases", biases),
        ]
        output = self.node(
            "Conv",
            inputs,
            f"{name}_conv",
            kernel_shape=[layer.size] * 2,
            strides=list(layer.stride),
            dilations=[layer.dilation] * 2,
            pads=[layer.padding] * 4,
            group=layer.groups,
        )
        return self._activate(layer.activation, output, name)

    def _pool(self, layer: Pool, name: str) -> str:
        before = layer.padding // 2

        def after(size_in: int, size_out: int, stride: int) -> int:
            return max(0, (size_out - 1) * stride + layer.size - size_in - before)

        down = after(layer.input.height, layer.output.height, layer.stride[0])
        right = after(layer.input.width, layer.output.width, layer.stride[1])
        # Darknet's mean, like ONNX's default, ignores the window's part outside the picture.
        return self.node(
            "AveragePool" if layer.average else "MaxPool",
            [self.previous],
            name,
            kernel_shape=[layer.size] * 2,
            strides=list(layer.stride),
            pads=[before, before, down, right],
        )

    def _upsample(self, layer: Upsample, name: str) -> str:
        scales = np.array([1, 1, layer.stride, layer.stride], np.float32)
        larger = self.node(
            "Resize",
            [self.previous, "", self._add(f"{name}_scales", scales)],
            f"{name}_larger",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        if layer.scale == 1:
            return larger
        return self.node("Mul", [larger, self.constant(f"{name}_factor", layer.scale)], name)

    def _route(self, layer: Route, name: str) -> str:
        parts = []
        for number, source in enumerate(layer.sources):
            share = self.network.layers[source].output.channels // layer.groups
            first = share * layer.group
            parts.append(self._channels(source, first, first + share, f"{name}_part{number}"))
        return self.node("Concat", parts, name, axis=1)

    def _shortcut(self, layer: Shortcut, name: str) -> str:
        total = self.previous
        for number, source in enumerate(layer.sources):
            part = self._fitted(source, layer.output, f"{name}_part{number}")
            total = self.node("Add", [total, part], f"{name}_sum{number}")
        return self._activate(layer.activation, total, name)

    def _fitted(self, source: int, target: Shape, name: str) -> str:
        """Return a layer's output with the shape of another map: shortcut_cpu of `src/blas.c`.

        Channels, rows and columns that the source lacks are zeros.
        """
        shape = self.network.layers[source].output
        channels = min(shape.channels, target.channels)
        part = self._channels(source, 0, channels, name)
        height, width = min(shape.height, target.height), min(shape.width, target.width)
        if (height, width) != (shape.height, shape.width):
            step = max(1, shape.height // target.height)
            part = self._sampled(part, (height, width), step, name)
        sample = max(1, target.height // shape.height)
        if sample > 1:
            height, width = height * sample, width * sample
            part = self._spread(part, channels, (height, width), sample, name)
        missing = [target.channels - channels, target.height - height, target.width - width]
        if any(missing):
            pads = self.constant(f"{name}_missing", [0, 0, 0, 0, 0, *missing])
            part = self.node("Pad", [part, pads], f"{name}_padded")
        return part

    def _sampled(self, part: str, size: tuple[int, int], step: int, name: str) -> str:
        """Return (height, width) of every n-th row and column of a map."""
        ends = [length * step for length in size]
        bounds = [
            self.constant(f"{name}_{word}", values)
            for word, values in (
                ("from", [0, 0]),
                ("to", ends),
                ("axes", [2, 3]),
                ("steps", [step, step]),
            )
        ]
        return self.node("Slice", [part, *bounds], f"{name}_sampled")

    def _spread(self, part: str, channels: int, size: tuple[int, int], by: int, name: str) -> str:
        """Return a map of `size` with the pixels at every n-th place, and zeros between them."""
        height, width = size
        apart = [0, channels, height // by, 1, width // by, 1]
        part = self.node("Reshape", [part, self.constant(f"{name}_apart", apart)], f"{name}_alone")
        pads = self.constant(f"{name}_between", [*[0] * 6, 0, 0, 0, by - 1, 0, by - 1])
        part = self.node("Pad", [part, pads], f"{name}_surrounded")
        joined = self.constant(f"{name}_join", [0, channels, height, width])
        return self.node("Reshape", [part, joined], f"{name}_spread")

    def _channels(self, source: int, first: int, end: int, name: str) -> str:
        """Return channels `first` to `end` of a layer's output; without a node if that is all."""
        output = self.outputs[source]
        if (first, end) == (0, self.network.layers[source].output.channels):
            return output
        bounds = [
            self.constant(f"{name}_{word}", [value])
            for word, value in (("first", first), ("end", end), ("axis", 1))
        ]
        return self.node("Slice", [output, *bounds], name)

    def _reorg(self, layer: Reorg | SpaceToDepth, name: str) -> str:
        """Read the input's memory as (c / s^2, h, s, w, s) planes, as reorg_cpu of src/blas.c does.

        This is not space-to-depth, as the name suggests: Darknet calls the function with the sizes
        of the opposite direction, and YOLOv2's weights are trained with the result.
        """
        if isinstance(layer, SpaceToDepth):
            return self.node("SpaceToDepth", [self.previous], name, blocksize=layer.stride)
        s, shape, target = layer.stride, layer.input, layer.output
        split = [0, shape.channels // s**2, shape.height, s, shape.width, s]
        apart = self.node(
            "Reshape", [self.previous, self.constant(f"{name}_split", split)], f"{name}_apart"
        )
        turned = self.node("Transpose", [apart], f"{name}_turned", perm=[0, 3, 5, 1, 2, 4])
        joined = [0, target.channels, target.height, target.width]
        # 0 keeps the batch size in both reshapes.
        return self.node("Reshape", [turned, self.constant(f"{name}_join", joined)], name)

    def _activate(self, activation: str, value: str, name: str) -> str:
        match activation:
            case "linear":
                return value
            case "swish":
                gate = self.node("Sigmoid", [value], f"{name}_gate")
                return self.node("Mul", [value, gate], name)
            case "relu6":
                bounds = [self.constant(f"{name}_{v}", v) for v in (0.0, 6.0)]
                return self.node("Clip", [value, *bounds], name)
            case "hard_mish":
                return self._hard_mish(value, name)
            case _:
                kind, attributes = _ATTRIBUTES[activation]
                return self.node(kind, [value], name, **attributes)

    def _hard_mish(self, value: str, name: str) -> str:
        """Add x above 0, x^2 / 2 + x from -2 to 0, 0 below, as x * clip(x / 2 + 1, 0, 1)."""
        half = self.node("Mul", [value, self.constant(f"{name}_half", 0.5)], f"{name}_halved")
        one = self.constant(f"{name}_one", 1.0)
        shifted = self.node("Add", [half, one], f"{name}_shifted")
        zero = self.constant(f"{name}_zero", 0.0)
        gate = self.node("Clip", [shifted, zero, one], f"{name}_gate")
        return self.node("Mul", [value, gate], name)


def _value(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["n", shape.channels, shape.height, shape.width]
    )
