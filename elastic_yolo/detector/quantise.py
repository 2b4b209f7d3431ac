"""Make a graph compute in 8-bit integers, by quantisation after training.

ONNX Runtime's own tool watches the range of every value on calibration pictures and puts a pair of
QuantizeLinear and DequantizeLinear around each layer; engines run what lies between in integers.
The convolution before each head stays in float: it is small, and its outputs span a range in which
one step of 256 would be felt in every score.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from elastic_yolo.detector.boxes import Image, Pixels
from elastic_yolo.detector.darknet.layers import Network
from elastic_yolo.detector.graph import INPUT_NAME, outer_nodes

Step = Callable[[], object]
"""Called after every picture."""


def quantise(
    graph: onnx.ModelProto, network: Network, images: Iterable[Image], step: Step = lambda: None
) -> onnx.ModelProto:
    """Return the int8 version of a graph.

    `images` are calibration pictures as they enter the network, (height, width, 3) uint8 each; some
    dozens of those that the model will see are enough, and at least one is needed.
    """
    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as folder:
        whole, prepared, result = (Path(folder) / name for name in ("in", "prepared", "out"))
        onnx.save(graph, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            result,
            _Reader(images, step),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Weights of seven bits. CPUs without VNNI add products of eight in pairs of 16 bits,
            # which overflow: the embedded model loses 2.4 points of mAP there, with these 0.1.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=outer_nodes(network),
        )
        return onnx.load(result)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the tool has no types
    def __init__(self, images: Iterable[Image], step: Step) -> None:
        self._images: Iterator[Image] = iter(images)
        self._step: Step = lambda: None
        self._next_step = step

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the next picture as the tool asks for it, or None after the last."""
        # It asks when it is done with the one before.
        self._step()
        self._step = self._next_step
        image = next(self._images, None)
        if image is None:
            return None
        return {INPUT_NAME: np.ascontiguousarray(image[np.newaxis], np.uint8)}
