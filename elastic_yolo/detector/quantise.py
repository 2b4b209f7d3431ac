"""Post-training quantisation of an ONNX graph to int8.

ONNX Runtime's quantiser records the range of every value on calibration pictures and puts a pair of
QuantizeLinear and DequantizeLinear around each layer; engines compute the layers between them in
integers. The convolution before each head stays in float: it is small, and one step of 1/256 of its
output range would change every score.
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
from elastic_yolo.detector.graph import INPUT_NAME, float_nodes

Step = Callable[[], object]
"""Called after every calibration picture."""


def quantise(
    graph: onnx.ModelProto, network: Network, images: Iterable[Image], step: Step = lambda: None
) -> onnx.ModelProto:
    """Return the int8 version of a graph.

    `images` are calibration pictures as network input, (height, width, 3) uint8 each. At least one
    is needed; some dozens like those in production are enough.
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
            # Seven-bit weights. CPUs without VNNI add pairs of products in 16 bits, which overflow
            # with eight-bit weights: the embedded model then loses 2.4 points of mAP, with seven
            # bits 0.1.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=float_nodes(network),
        )
        return onnx.load(result)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # the tool has no types
    def __init__(self, images: Iterable[Image], step: Step) -> None:
        self._images: Iterator[Image] = iter(images)
        self._step: Step = lambda: None
        self._next_step = step

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the next picture as the quantiser expects it, or None after the last."""
        # The quantiser calls this when it has finished the previous picture.
        self._step()
        self._step = self._next_step
        image = next(self._images, None)
        if image is None:
            return None
        return {INPUT_NAME: np.ascontiguousarray(image[np.newaxis], np.uint8)}
