"""Run a network with OpenVINO on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino as ov

from detector.boxes import Floats, Image
from detector.errors import EngineError

# An int8 graph says itself what is in integers; the hint is for the rest of it.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoEngine:
    """A compiled OpenVINO model with one stream: all threads work on one picture.

    On few cores two streams give a little more throughput for twice the latency (23 against 44 ms
    on two cores for yolov3-tiny), so a second pod is the better second stream.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        graph: onnx.ModelProto,
        *,
        threads: int,
        precision: str = "fp32",
        cache: Path | None = None,
    ) -> None:
        """Compile `graph` for `threads` threads; `cache` is a folder for compiled models.

        Raises EngineError.
        """
        if precision not in _HINTS:
            raise EngineError(f"openvino computes in {', '.join(_HINTS)} here, not in {precision}")
        self.precision = precision
        core = ov.Core()
        config: dict[str, object] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if cache is not None:
            config["CACHE_DIR"] = str(cache)
        try:
            model = core.read_model(graph.SerializeToString())
            # One picture at a time: on a CPU a larger batch takes proportionally longer.
            height, width = (int(d.dim_value) for d in _input_dims(graph)[1:3])
            model.reshape([1, height, width, 3])
            self._request = core.compile_model(model, "CPU", config).create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile the network: {error}") from error

    def run(self, images: Image) -> list[Floats]:
        """Run a batch, picture by picture; see Engine.run."""
        answers = [self._run_one(images[i : i + 1]) for i in range(len(images))]
        return [np.concatenate(head) for head in zip(*answers, strict=True)]

    def _run_one(self, image: Image) -> list[Floats]:
        self._request.infer([np.ascontiguousarray(image, np.float32)])
        # The request's output buffers are overwritten by the next run.
        return [output.data.copy() for output in self._request.output_tensors]


def _input_dims(graph: onnx.ModelProto) -> list[onnx.TensorShapeProto.Dimension]:
    return list(graph.graph.input[0].type.tensor_type.shape.dim)
