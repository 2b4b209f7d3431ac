"""The measurement of tensors and of the inputs of convolutions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.graph import float_nodes
from elastic_yolo.detector.int8.calibration import Calibration, MeasuredLayer
from elastic_yolo.detector.int8.region import Region
from tests.detector.int8.graphs import HEAD, convolution, noise, write_graph


def measure(
    layers: str, folder: Path, part_bytes: int = 2**28
) -> tuple[onnx.ModelProto, Calibration, list[MeasuredLayer], list[tuple[str, int, int]]]:
    graph, network = write_graph(layers, folder)
    calibration = Calibration(graph, Region(graph.graph, float_nodes(network)), part_bytes)
    progress: list[tuple[str, int, int]] = []
    measured = list(calibration.layers(noise(2), lambda *step: progress.append(step)))
    return graph, calibration, measured, progress


def outputs_of(graph: onnx.ModelProto, tensor: str) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    copy.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    session = ort.InferenceSession(copy.SerializeToString())
    return [session.run([tensor], {"images": image[np.newaxis]})[0][0] for image in noise(2)]


@pytest.mark.parametrize(
    "options",
    [
        "size=3\npad=1\n",
        "size=1\n",
        "size=3\nstride=2\npad=1\n",
        "size=3\nstride_x=2\nstride_y=1\npad=1\n",
        "size=5\n",
    ],
)
def test_products_are_those_of_the_inputs_of_a_convolution(tmp_path: Path, options: str) -> None:
    """The mean square of an output without its bias is w^T X^T X w / rows, for every filter w."""
    graph, _, measured, _ = measure(convolution(4) + convolution(5, options) + HEAD, tmp_path)
    constants = {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}
    filters = constants["layer1_filters"].reshape(5, -1)
    biases = constants["layer1_biases"]
    (products,) = measured[1].products

    outputs = outputs_of(graph, "layer1_conv")

    # Every position is in the sample: it is larger than these layers.
    squares = sum(np.square(one - biases[:, None, None]).sum(axis=(1, 2)) for one in outputs)
    assert np.einsum("fi,ij,fj->f", filters, products, filters) == pytest.approx(squares, rel=1e-3)


def test_parts_of_little_memory_measure_the_same(tmp_path: Path) -> None:
    layers = 3 * convolution(4) + HEAD

    _, whole, at_once, once = measure(layers, tmp_path)
    _, divided, in_parts, often = measure(layers, tmp_path, part_bytes=10_000)

    assert [len(at_once), len(in_parts)] == [3, 3]
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.products[0] == pytest.approx(other.products[0], rel=1e-3)
    assert whole.histograms.keys() == divided.histograms.keys()
    for name, histogram in whole.histograms.items():
        assert histogram.best_range() == pytest.approx(divided.histograms[name].best_range())
    assert (once[0], once[-1]) == (("calibrating", 0, 2), ("calibrating", 2, 2))
    assert often[-1][1] == often[-1][2] > 2


def test_wide_filters_are_measured_in_blocks_of_channels(tmp_path: Path) -> None:
    layers = convolution(600, "size=1\n") + convolution(4) + HEAD

    _, _, measured, _ = measure(layers, tmp_path)

    blocks = measured[1].blocks
    assert len(blocks) > 1
    assert all(block.start % 9 == block.stop % 9 == 0 for block in blocks)
    assert (blocks[0].start, blocks[-1].stop) == (0, 600 * 9)
    assert [len(one) for one in measured[1].products] == [b.stop - b.start for b in blocks]


def test_values_that_overflow_are_refused(tmp_path: Path) -> None:
    graph, network = write_graph(8 * convolution(4) + HEAD, tmp_path)
    for one in graph.graph.initializer:
        if one.name.endswith("_filters"):
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * 1e9, one.name))
    calibration = Calibration(graph, Region(graph.graph, float_nodes(network)))

    with pytest.raises(EngineError, match="values overflow float32: int8 is not possible"):
        list(calibration.layers(noise(1), lambda *_: None))
