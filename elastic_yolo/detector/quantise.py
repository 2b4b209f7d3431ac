"""Post-training quantisation of an ONNX graph to int8.

The range of every tensor is measured on calibration pictures; weights are rounded so that their
errors compensate one another; pairs of QuantizeLinear and DequantizeLinear mark what engines
compute in integers. The first two convolutions and the one before each head stay in float: they
take little time, the first have the widest ranges, and one step of 1/256 of a head's range would
change every score. docs/decisions/021-int8-quality.md compares this with other methods.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.graph import float_nodes
from elastic_yolo.detector.int8.calibration import Calibration, MeasuredLayer, Pictures, Progress
from elastic_yolo.detector.int8.pairs import IntegerFilters, insert_pairs
from elastic_yolo.detector.int8.region import Region
from elastic_yolo.detector.int8.rounding import round_with_feedback, weight_scales

_FIRST = 2
# Errors of the negative values before an activation count as much as leaky ReLU leaves of them.
_DAMPED = 0.1


def quantise(
    graph: onnx.ModelProto,
    network: Network,
    pictures: Pictures,
    progress: Progress = lambda *_: None,
    margin: float = 1.0,
) -> onnx.ModelProto:
    """Return the int8 version of a graph; raises EngineError.

    At least one calibration picture is needed. Large networks iterate over them several times.
    `margin` widens the measured ranges, for pictures that do not show all values.
    """
    region = Region(graph.graph, [*float_nodes(network), *first_nodes(network)])
    calibration = Calibration(graph, region)
    weights = {one.name: one for one in graph.graph.initializer}
    filters: dict[str, IntegerFilters] = {}
    for layer in calibration.layers(pictures, progress):
        values = numpy_helper.to_array(weights[layer.node.input[1]])
        filters[layer.node.name] = _to_integers(values, layer)
        progress("rounding weights", len(filters), len(region.convolutions))
    ranges = {}
    for group, histogram in calibration.histograms.items():
        low, high = histogram.best_range(_DAMPED if group in region.damped else 1.0)
        ranges[group] = (margin * low, margin * high)
    return insert_pairs(graph, region, ranges, filters)


def first_nodes(network: Network) -> list[str]:
    """Return the names of the convolutions at the network's beginning that stay in float."""
    return [f"layer{layer.index}_conv" for layer in network.convolutions[:_FIRST]]


def _to_integers(filters: Floats, layer: MeasuredLayer) -> IntegerFilters:
    rows = filters.reshape(len(filters), -1)
    scales = weight_scales(rows)
    parts = [
        round_with_feedback(rows[:, block], scales, products)
        for block, products in zip(layer.blocks, layer.products, strict=True)
    ]
    return IntegerFilters(np.concatenate(parts, axis=1).reshape(filters.shape), scales)
