"""What can be measured: an engine of ours, OpenCV's Darknet importer, or a bare matrix product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
from openvino import opset13 as ops

from detector.engines.choose import EngineOptions, build_engine
from detector.model import Model, read_model

# Large enough that a core's caches do not matter, small enough for half a second on one core.
GEMM_SIZE = 2048

Step = Callable[[], object]


@dataclass(frozen=True)
class Contestant:
    """One row of the table. `engine` is one of ours, `opencv`, or `gemm`."""

    engine: str
    precision: str = "fp32"
    batch: int = 1

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return f"{self.engine} {self.precision} x{self.batch}"


def prepare(contestant: Contestant, model_path: Path, threads: int, cache: Path | None) -> Step:
    """Load what is needed and return a function that does the work once."""
    if contestant.engine == "gemm":
        return _gemm(threads)
    model = read_model(model_path)
    if contestant.engine == "opencv":
        return _opencv(model, contestant.batch, threads)
    options = EngineOptions(
        threads=threads,
        engine=contestant.engine,
        precision=contestant.precision,
        device="cpu",
        # What is compiled is not kept: how long that takes is part of the report.
        cache=cache if contestant.precision == "int8" else None,
    )
    engine, _ = build_engine(model, options)
    images = _images(model, contestant.batch)
    return lambda: engine.run(images)


def flop(contestant: Contestant, model: Model) -> int:
    """Return the multiplications and additions of one step."""
    if contestant.engine == "gemm":
        return 2 * GEMM_SIZE**3
    return contestant.batch * model.network.flop


def _images(model: Model, batch: int) -> np.ndarray:
    size = (batch, model.network.input.height, model.network.input.width, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def _opencv(model: Model, batch: int, threads: int) -> Step:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromDarknet(str(model.cfg), str(model.weights_file))
    names = net.getUnconnectedOutLayersNames()
    blob = cv2.dnn.blobFromImages(list(_images(model, batch)), 1 / 255)

    def step() -> object:
        net.setInput(blob)
        return net.forward(names)

    return step


def _gemm(threads: int) -> Step:
    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, GEMM_SIZE, GEMM_SIZE), np.float32)
    parameter = ops.parameter([GEMM_SIZE, GEMM_SIZE], np.float32)
    product = ops.matmul(parameter, ops.constant(right), transpose_a=False, transpose_b=False)
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = ov.Core().compile_model(ov.Model([product], [parameter]), "CPU", config)
    request = compiled.create_infer_request()
    return lambda: request.infer([left])
