"""Which convolutions and tensors of a graph become int8, and which tensors share a range."""

from __future__ import annotations

from collections.abc import Collection

import onnx

# Operators that move or select values without changing them: their output has their input's range.
_MOVES = frozenset(
    "MaxPool Resize Concat Slice Identity Reshape Transpose SpaceToDepth Pad".split()
)
_ACTIVATIONS = frozenset("LeakyRelu Relu Elu Selu Mish Clip".split())


class Region:
    """The part of a graph that is quantised.

    `convolutions` are the nodes with integer weights, in the graph's order. `tensors` maps every
    tensor of the region to its range group, named after one of the group's tensors. `measured` are
    the tensors whose values define the ranges: all but those that an operator only moves.
    `essential` are the measured tensors that reach an integer convolution. `damped` are those whose
    negative values an activation shrinks.
    """

    def __init__(self, graph: onnx.GraphProto, float_names: Collection[str]) -> None:
        """Find the region; `float_names` are the names of the nodes that stay in float."""
        self._producers = {output: node for node in graph.node for output in node.output}
        self._parents: dict[str, str] = {}
        self.convolutions = [
            node for node in graph.node if node.op_type == "Conv" and node.name not in float_names
        ]
        essential = {
            source
            for convolution in self.convolutions
            for source in self._sources(convolution.input[0])
        }
        names = [*self._inner(graph, float_names), *essential]
        for name in names:
            self._unite(name)
        self.tensors = {name: self._root(name) for name in names}
        order = [output for node in graph.node for output in node.output if output in self.tensors]
        self.measured = [name for name in order if not self.moves(name)]
        self.essential = [name for name in order if name in essential]
        inputs = {node.input[0] for node in graph.node if node.op_type in _ACTIVATIONS}
        # Swish is a product of a value and its sigmoid.
        gates = {node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
        products = {name for node in graph.node if node.op_type == "Mul" for name in node.input}
        self.damped = {one.output[0] for one in self.convolutions} & (inputs | (gates & products))

    def moves(self, tensor: str) -> bool:
        """Return whether the operator that makes a tensor only moves values."""
        return self._producers[tensor].op_type in _MOVES

    def _inner(self, graph: onnx.GraphProto, float_names: Collection[str]) -> list[str]:
        """Return the outputs of all nodes, except before the first and after the last integers."""
        integer = {node.name for node in self.convolutions}
        outside = set(float_names)
        inner: list[str] = []
        for node in graph.node:
            before = [self._producers[name] for name in node.input if name in self._producers]
            after_head = any(one.op_type != "Div" and one.name in outside for one in before)
            if node.name in outside or (after_head and node.name not in integer):
                outside.add(node.name)
            else:
                inner += node.output
        return inner

    def _sources(self, tensor: str) -> list[str]:
        """Return the tensors whose values a tensor has."""
        return (
            [name for one in self._moved(tensor) for name in self._sources(one)]
            if self.moves(tensor)
            else [tensor]
        )

    def _moved(self, tensor: str) -> list[str]:
        node = self._producers[tensor]
        return list(node.input) if node.op_type == "Concat" else [node.input[0]]

    def _unite(self, tensor: str) -> None:
        if self.moves(tensor):
            for name in self._moved(tensor):
                self._parents[self._root(name)] = self._root(tensor)

    def _root(self, tensor: str) -> str:
        while self._parents.setdefault(tensor, tensor) != tensor:
            tensor = self._parents[tensor]
        return tensor
