"""Put pairs of QuantizeLinear and DequantizeLinear into a graph, or remove some of them.

ONNX Runtime computes an operator in integers if such pairs are at all its inputs and outputs.
OpenVINO fuses a convolution with its activation, and gains accuracy and speed if there is no pair
between them: `without_optional_pairs` removes those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.int8.histogram import Range, scale_of
from elastic_yolo.detector.int8.region import Region

# End of the names of the nodes of a pair that only ONNX Runtime needs.
_OPTIONAL = "_optional"


@dataclass(frozen=True)
class IntegerFilters:
    """Filters of a convolution as int8 multiples, (n, c, h, w), of each filter's step, (n,)."""

    steps: NDArray[np.int8]
    scales: Floats


def insert_pairs(
    graph: onnx.ModelProto,
    region: Region,
    ranges: Mapping[str, Range],
    filters: Mapping[str, IntegerFilters],
) -> onnx.ModelProto:
    """Return a graph with a pair at every tensor of the region, and with integer filters.

    `ranges` has the range of every group of tensors, `filters` is by the convolution's name.
    """
    return _Writer(graph, region, ranges, filters).write()


def without_optional_pairs(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without the pairs that only ONNX Runtime needs; changes the given one."""
    originals = {
        node.output[0]: node.input[0] for node in graph.graph.node if node.name.endswith(_OPTIONAL)
    }
    kept = [node for node in graph.graph.node if node.output[0] not in originals]
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = _follow(originals, name)
    del graph.graph.node[:]
    graph.graph.node.extend(kept)
    _drop_unused_constants(graph.graph)
    return graph


def _follow(originals: Mapping[str, str], name: str) -> str:
    while name in originals:
        name = originals[name]
    return name


class _Writer:
    def __init__(
        self,
        graph: onnx.ModelProto,
        region: Region,
        ranges: Mapping[str, Range],
        filters: Mapping[str, IntegerFilters],
    ) -> None:
        self._result = onnx.ModelProto()
        self._result.CopyFrom(graph)
        self._region = region
        self._ranges = ranges
        self._filters = filters
        self._essential = frozenset(region.essential)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._renamed: dict[str, str] = {}

    def write(self) -> onnx.ModelProto:
        graph = self._result.graph
        for node in graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = self._renamed.get(name, name)
            if node.name in self._filters:
                node.input[1] = self._add_filters(node.input[1], self._filters[node.name])
            self._nodes.append(node)
            for output in node.output:
                if output in self._region.tensors:
                    self._renamed[output] = self._add_pair(output)
        nodes = list(self._nodes)
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(self._constants)
        _drop_unused_constants(graph)
        return self._result

    def _add_pair(self, tensor: str) -> str:
        scale, zero = scale_of(self._ranges[self._region.tensors[tensor]])
        suffix = "" if tensor in self._essential else _OPTIONAL
        names = [self._constant(f"{tensor}_scale", np.asarray(scale))]
        names.append(self._constant(f"{tensor}_zero", np.asarray(zero)))
        integers, floats = f"{tensor}_quantised{suffix}", f"{tensor}_dequantised{suffix}"
        self._node("QuantizeLinear", [tensor, *names], integers)
        self._node("DequantizeLinear", [integers, *names], floats)
        return floats

    def _add_filters(self, name: str, filters: IntegerFilters) -> str:
        inputs = [
            self._constant(f"{name}_steps", filters.steps),
            self._constant(f"{name}_scales", filters.scales),
            self._constant(f"{name}_zeros", np.zeros(len(filters.scales), np.int8)),
        ]
        output = f"{name}_dequantised"
        self._node("DequantizeLinear", inputs, output, axis=0)
        return output

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name


def _drop_unused_constants(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
