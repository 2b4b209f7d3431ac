"""Run calibration pictures through a float graph, and measure what quantisation needs.

That is a histogram of every tensor, and for every convolution the products of its input values. One
pass over the pictures measures a part of the network, so that memory is bounded for large ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
import onnx
import openvino as ov

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.int8.histogram import Histogram
from elastic_yolo.detector.int8.region import Region

Progress = Callable[[str, int, int], object]
"""Receives the name of the current step, the number of items done, and their total."""

# Memory of the tensors and products of one pass.
_PART_BYTES = 256 * 2**20
# Values of a tensor that are counted in each picture, and positions of a convolution in all of
# them.
_MOST_VALUES = 2**17
_MOST_POSITIONS = 2**13
# The products of a convolution with more weights for each filter are measured in blocks of input
# channels: they need 4 bytes for each pair of weights.
_MOST_COLUMNS = 2304


class Pictures(Protocol):
    """Pictures as network input, (height, width, 3) uint8; every iteration starts again."""

    def __len__(self) -> int:
        """Return the number of pictures."""

    def __iter__(self) -> Iterator[Image]:
        """Yield the pictures."""


@dataclass(frozen=True)
class MeasuredLayer:
    """A convolution, and X^T X of its input values for each block of a filter's weights."""

    node: onnx.NodeProto
    blocks: list[slice]
    products: list[Floats]


class Calibration:
    """The measurement of one network; `histograms` are by range group, complete after `layers`."""

    def __init__(
        self, graph: onnx.ModelProto, region: Region, part_bytes: int = _PART_BYTES
    ) -> None:
        """Read the graph; `part_bytes` is the memory for one pass. Raises EngineError."""
        self._part_bytes = part_bytes
        self.histograms: dict[str, Histogram] = {}
        self._region = region
        self._shapes = {one.name: tuple(one.dims) for one in graph.graph.initializer}
        try:
            self._model = ov.Core().read_model(graph.SerializeToString())
            height, width = graph.graph.input[0].type.tensor_type.shape.dim[1:3]
            self._model.reshape([1, height.dim_value, width.dim_value, 3])
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read the network: {error}") from error
        self._outputs = {
            name: output
            for operator in self._model.get_ordered_ops()
            for output in operator.outputs()
            for name in output.get_names()
        }

    def layers(self, pictures: Pictures, progress: Progress) -> Iterator[MeasuredLayer]:
        """Measure every convolution, part by part; raises EngineError for values that overflow."""
        parts = self._parts()
        total = len(parts) * len(pictures)
        progress("calibrating", 0, total)
        for number, part in enumerate(parts):
            part.start(self._model, self._outputs)
            for done, picture in enumerate(pictures, start=number * len(pictures) + 1):
                part.measure(picture, self.histograms, _MOST_POSITIONS // len(pictures) + 1)
                progress("calibrating", done, total)
            yield from part.layers()

    def _parts(self) -> list[_Part]:
        """Divide tensors and convolutions, in the graph's order, by the memory that they take."""
        parts = [_Part(self._region)]
        convolutions = {one.output[0]: one for one in self._region.convolutions}
        for tensor in self._region.measured:
            node = convolutions.get(tensor)
            names = [tensor, *([] if node is None else [node.input[0]])]
            size = sum(4 * int(np.prod(self._outputs[one].get_shape())) for one in names)
            columns = [] if node is None else _blocks(self._shapes[node.input[1]])
            size += sum(4 * (one.stop - one.start) ** 2 for one in columns)
            if parts[-1].bytes + size > self._part_bytes and parts[-1].tensors:
                parts.append(_Part(self._region))
            parts[-1].bytes += size
            parts[-1].tensors.append(tensor)
            if node is not None:
                parts[-1].convolutions.append(_Convolution(node, columns))
        return parts


@dataclass
class _Convolution:
    node: onnx.NodeProto
    blocks: list[slice]
    products: list[Floats] = field(default_factory=list)

    def measure(self, values: Floats, positions: int, random: np.random.Generator) -> None:
        """Add the products of the input values, (c, h, w), at random positions of the output."""
        rows = _input_rows(values, self.node, positions, random)
        products = [rows[:, block].T @ rows[:, block] for block in self.blocks]
        if not self.products:
            self.products = products
        else:
            for number, new in enumerate(products):
                self.products[number] += new


class _Part:
    """Tensors and convolutions that one pass over the pictures measures."""

    def __init__(self, region: Region) -> None:
        self.bytes = 0
        self.tensors: list[str] = []
        self.convolutions: list[_Convolution] = []
        self._region = region
        self._names: list[str] = []
        self._request: ov.InferRequest | None = None
        # A fixed seed: the same pictures give the same int8 version.
        self._random = np.random.default_rng(0)

    def start(self, model: ov.Model, outputs: dict[str, ov.Output]) -> None:
        inputs = [one.node.input[0] for one in self.convolutions]
        self._names = list(dict.fromkeys([*self.tensors, *inputs]))
        if not self._names:
            return
        wanted = ov.Model([outputs[name] for name in self._names], model.get_parameters())
        config = {
            "INFERENCE_NUM_THREADS": len(os.sched_getaffinity(0)),
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        self._request = ov.Core().compile_model(wanted, "CPU", config).create_infer_request()

    def measure(self, picture: Image, histograms: dict[str, Histogram], positions: int) -> None:
        # A network whose only convolutions are those before its heads has nothing to measure.
        if self._request is None:
            return
        self._request.infer([np.ascontiguousarray(picture[np.newaxis])])
        tensors = self._request.output_tensors
        values = {name: one.data[0] for name, one in zip(self._names, tensors, strict=True)}
        for name in self.tensors:
            lowest, highest = float(values[name].min()), float(values[name].max())
            if not np.isfinite([lowest, highest]).all():
                raise EngineError(f"{name}: values overflow float32: int8 is not possible")
            flat = values[name].ravel()
            some = flat[:: -(-flat.size // _MOST_VALUES)]
            group = self._region.tensors[name]
            histograms.setdefault(group, Histogram()).add(some, lowest, highest)
        for one in self.convolutions:
            one.measure(values[one.node.input[0]], positions, self._random)

    def layers(self) -> Iterator[MeasuredLayer]:
        while self.convolutions:
            one = self.convolutions.pop(0)
            yield MeasuredLayer(one.node, one.blocks, one.products)
        # Frees the memory of the compiled part before the next one is compiled.
        self._request = None


def _blocks(shape: tuple[int, ...]) -> list[slice]:
    """Return the columns of each block of input channels; `shape` is that of the filters."""
    channels, size = shape[1], shape[2] * shape[3]
    blocks = -(-channels * size // _MOST_COLUMNS)
    ends = [channels * number // blocks * size for number in range(blocks + 1)]
    return [slice(*both) for both in pairwise(ends)]


def _input_rows(
    values: Floats, node: onnx.NodeProto, most: int, random: np.random.Generator
) -> Floats:
    """Return the input values, (rows, channels * size * size), of random positions of the output.

    `values` is (channels, height, width). Of a grouped convolution, one random group is taken at
    each position.
    """
    options = {one.name: one for one in node.attribute}
    size, stride = options["kernel_shape"].ints[0], options["strides"].ints
    dilation, padding = options["dilations"].ints[0], options["pads"].ints[0]
    groups = options["group"].i
    padded = np.pad(values, ((0, 0), (padding, padding), (padding, padding)))
    reach = dilation * (size - 1) + 1
    height, width = ((n - reach) // s + 1 for n, s in zip(padded.shape[1:], stride, strict=True))
    chosen = random.choice(height * width, min(most, height * width), replace=False)
    y, x = chosen // width * stride[0], chosen % width * stride[1]
    channels = len(values) // groups
    planes = padded.reshape(groups, channels, *padded.shape[1:])
    group = random.integers(groups, size=len(chosen))
    rows = np.empty((len(chosen), channels, size, size), np.float32)
    for row in range(size):
        for column in range(size):
            rows[:, :, row, column] = planes[group, :, y + row * dilation, x + column * dilation]
    return rows.reshape(len(chosen), -1)
