"""Run a network with ONNX Runtime, on CUDA or on the CPU."""

from __future__ import annotations

import mmap
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.graph import accept_float_input

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OFFERED = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")}


class OnnxRuntimeEngine:
    """An ONNX Runtime session. A batch is one call: a GPU gains from it, a CPU loses nothing."""

    name = "onnxruntime"

    def __init__(
        self,
        graph: onnx.ModelProto | Path,
        *,
        threads: int,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        """Load `graph` for `threads` threads (CPU) on `device`; raises EngineError."""
        self.device = device
        self.precision = precision
        self.batches = device == "cuda"
        self._graph = _map(graph) if isinstance(graph, Path) else graph
        self._threads = threads
        self._sessions = {"uint8": self._start(graph)}

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch; see Engine.execute."""
        pixels = images.dtype.name
        if pixels not in self._sessions:
            # float32 pixels (exact=True) are rare: their session is created on first use.
            self._sessions[pixels] = self._start(self._with_floats())
        session = self._sessions[pixels]
        name = session.get_inputs()[0].name
        return [
            np.asarray(output, np.float32)
            for output in session.run(None, {name: np.ascontiguousarray(images)})
        ]

    def split(self, parts: int) -> list[Engine]:  # noqa: ARG002
        """Return no engines: all runs of a session share one thread pool."""
        return []

    def _with_floats(self) -> onnx.ModelProto:
        graph = onnx.ModelProto()
        if isinstance(self._graph, onnx.ModelProto):
            graph.CopyFrom(self._graph)
        else:
            graph.ParseFromString(self._graph[:])
        accept_float_input(graph)
        return graph

    def _start(self, graph: onnx.ModelProto | Path) -> ort.InferenceSession:
        source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
        return _start_session(source, self.device, self._threads)


def _map(path: Path) -> mmap.mmap:
    """Map a file, which keeps its content available if the cache is cleared."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise EngineError(f"{path} was deleted while it was read: {error}") from error


def _start_session(source: str | bytes, device: str, threads: int) -> ort.InferenceSession:
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise EngineError(f"no {device.upper()}, because this onnxruntime lacks {provider}")
    if device == "cuda":
        # Finds CUDA libraries that pip installed beside this package.
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take CPU time from decoding and from other pods.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Logs fatal errors only: other errors are exceptions, or show as a missing device.
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            source, options, providers=[(provider, _provider_options(device))]
        )
    except Exception as error:  # onnxruntime's exceptions have no common base class
        raise EngineError(f"onnxruntime cannot load the network: {error}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(f"no {device.upper()}, because {provider} does not start here")
    return session


def _provider_options(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {}
    # TF32 rounds to 10 bits, which is not fp32. An exhaustive algorithm search would delay the
    # first request of every new batch size by seconds.
    return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@cache
def why_no_cuda() -> str | None:
    """Return why ONNX Runtime cannot use CUDA on this machine, or None if it can.

    The GPU package always lists CUDA among its providers: only a session shows whether driver,
    libraries and device exist.
    """
    identity = helper.make_node("Identity", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([identity], "probe", [x], [y])
    probe = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    try:
        _start_session(probe.SerializeToString(), "cuda", threads=1)
    except EngineError as error:
        return str(error)
    return None
