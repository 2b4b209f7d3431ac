"""Configurations: an engine, OpenCV's Darknet importer, or a plain matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model, read_model

# Square matrices. The size and the library that come closest to a core's peak depend on the CPU.
_GEMM_SIZES = (1024, 2048)

Step = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """A step to measure, and its number of multiplications and additions."""

    step: Step
    flop: int


@dataclass(frozen=True)
class EngineConfig:
    """One row of the table. `engine` is an engine's name, `opencv`, or `gemm`."""

    engine: str
    precision: str = "fp32"
    batch: int = 1
    device: str = "cpu"

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return f"{self.engine} {self.device} {self.precision} x{self.batch}"


def prepare(config: EngineConfig, model_path: Path, threads: int, cache: Path | None) -> Work:
    """Load the configuration and return its work; raises EngineError."""
    if config.engine == "gemm":
        return _gemm(threads)
    model = read_model(model_path)
    flop = config.batch * model.network.flop
    if config.engine == "opencv":
        return Work(_opencv(model, config.batch, threads), flop)
    options = EngineOptions(
        threads=threads,
        engine=config.engine,
        precision=config.precision,
        device=config.device,
        cache=cache,
    )
    engine, choice = build_engine(model, options)
    if engine.precision != config.precision:
        raise EngineError(choice.why)
    images = _images(model, config.batch)
    return Work(lambda: engine.execute(images), flop)


def _images(model: Model, batch: int) -> np.ndarray:
    size = (batch, model.network.input.height, model.network.input.width, 3)
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def _opencv(model: Model, batch: int, threads: int) -> Step:
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromDarknet(str(model.cfg), str(model.weights_file))
    names = net.getUnconnectedOutLayersNames()
    images = list(_images(model, batch))
    if model.network.input.channels == 1:
        images = [np.asarray(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), np.uint8) for one in images]
    blob = cv2.dnn.blobFromImages(images, 1 / 255)

    def step() -> object:
        net.setInput(blob)
        return net.forward(names)

    return step


def _gemm(threads: int) -> Work:
    """Measure a few float32 matrix products and return the fastest."""
    products = [
        Work(build(size, threads), 2 * size**3)
        for size in _GEMM_SIZES
        for build in (_openvino_product, _numpy_product)
    ]
    return max(products, key=_flop_per_s)


def _flop_per_s(work: Work) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        work.step()
        times.append(time.perf_counter() - started)
    return work.flop / min(times)


def _matrices(size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((2, size, size), np.float32)


def _numpy_product(size: int, _threads: int) -> Step:
    # rounds.py sets its threads with an environment variable.
    left, right = _matrices(size)
    result = np.empty_like(left)
    return lambda: np.matmul(left, right, out=result)


def _openvino_product(size: int, threads: int) -> Step:
    import openvino as ov  # noqa: PLC0415  # after detector, which turns off its telemetry
    from openvino import opset13 as ops  # noqa: PLC0415

    left, right = _matrices(size)
    parameter = ops.parameter([size, size], np.float32)
    product = ops.matmul(parameter, ops.constant(right), transpose_a=False, transpose_b=False)
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = ov.Core().compile_model(ov.Model([product], [parameter]), "CPU", config)
    request = compiled.create_infer_request()
    return lambda: request.infer([left])
