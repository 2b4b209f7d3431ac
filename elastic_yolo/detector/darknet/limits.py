"""Upper limits on the resources of a network.

A .cfg is untrusted: without limits its numbers decide how much memory is allocated and how long an
engine runs. For comparison, the largest known detector, AlexeyAB's yolov4-p6, has 305 layers, 128
million parameters, 717 GFLOP and outputs of 52 million values.
"""

from __future__ import annotations

from elastic_yolo.detector.darknet.layers import (
    Convolutional,
    Layer,
    Multiply,
    Network,
    Pool,
    Route,
    Shape,
    Shortcut,
)
from elastic_yolo.detector.errors import CfgError

# YOLO9000, which has the most classes, has 28,269 channels. The statistics of one batch
# normalisation are the only part of a .weights file that is held in memory before it is checked.
_MOST_CHANNELS = 2**17
# 2 GB of float32: a graph is one protobuf message, which cannot be longer.
_MOST_FLOATS = 500_000_000
# A minute and a half on a core of 100 GFLOP/s.
_MOST_OPERATIONS = 10**13
# 4 GB of float32 for outputs that a later layer still reads: an engine must hold these in memory.
_MOST_ALIVE = 2**30
# Every source of a [route] or [shortcut] may become a node of the graph.
_MOST_SOURCES = 10_000


def check_limits(network: Network, file: str) -> None:
    """Raise CfgError with the line of `file` where the network exceeds a limit."""
    floats = operations = sources = 0
    for layer in network.layers:
        floats += layer.float_count if isinstance(layer, Convolutional) else 0
        operations += _operations(layer)
        sources += len(_sources(layer))
        _check(layer, file, "channels", layer.output.channels, _MOST_CHANNELS)
        _check(layer, file, "parameters", floats, _MOST_FLOATS)
        _check(layer, file, "operations for a picture", operations, _MOST_OPERATIONS)
        _check(layer, file, "sources of layers", sources, _MOST_SOURCES)
    _check_alive(network, file)


def _check(layer: Layer, file: str, what: str, found: int, most: int) -> None:
    if found > most:
        raise CfgError(
            f"{file}:{layer.line}: layer {layer.index} brings the total to {found:,} {what}: "
            f"expected at most {most:,}"
        )


def _operations(layer: Layer) -> int:
    match layer:
        case Convolutional():
            return layer.flop
        case Pool():
            rows = min(layer.size, layer.input.height)
            columns = min(layer.size, layer.input.width)
            return _values(layer.output) * rows * columns
    return _values(layer.output)


def _check_alive(network: Network, file: str) -> None:
    """Check the memory for outputs: each is needed from its layer to the last one that reads it."""
    last = list(range(len(network.layers)))
    for layer in network.layers:
        for source in _sources(layer):
            last[source] = layer.index
    for head in network.heads:
        last[head.index] = len(network.layers)
    ended: dict[int, int] = {}
    alive = _values(network.input)
    for layer in network.layers:
        alive += _values(layer.output)
        _check(layer, file, "values in memory", alive, _MOST_ALIVE)
        until = last[layer.index]
        ended[until] = ended.get(until, 0) + _values(layer.output)
        alive -= ended.get(layer.index, 0)


def _sources(layer: Layer) -> tuple[int, ...]:
    """Return the indices of the layers that this one reads; none if it reads the picture."""
    before = (layer.index - 1,) if layer.index else ()
    match layer:
        case Route():
            return layer.sources
        case Shortcut():
            return (*before, *layer.sources)
        case Multiply():
            return (*before, layer.source)
    return before


def _values(shape: Shape) -> int:
    return shape.channels * shape.height * shape.width
