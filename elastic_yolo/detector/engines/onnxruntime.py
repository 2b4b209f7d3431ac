"""Run a network with ONNX Runtime: on CUDA where it is there, on the CPU otherwise."""

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
from elastic_yolo.detector.graph import take_floats

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
OFFERED = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "fp16")}


class OnnxRuntimeEngine:
    """A session. A batch runs as one: that is what a GPU is for, and costs a CPU nothing."""

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
            # Pixels that were never rounded are asked for seldom: they get a session of their own
            # when the first ones come.
            self._sessions[pixels] = self._start(self._with_floats())
        session = self._sessions[pixels]
        name = session.get_inputs()[0].name
        return [
            np.asarray(output, np.float32)
            for output in session.run(None, {name: np.ascontiguousarray(images)})
        ]

    def split(self, parts: int) -> list[Engine]:  # noqa: ARG002
        """Return nothing: a session has one pool of threads, which all runs share."""
        return []

    def _with_floats(self) -> onnx.ModelProto:
        graph = onnx.ModelProto()
        if isinstance(self._graph, onnx.ModelProto):
            graph.CopyFrom(self._graph)
        else:
            graph.ParseFromString(self._graph[:])
        take_floats(graph)
        return graph

    def _start(self, graph: onnx.ModelProto | Path) -> ort.InferenceSession:
        source = str(graph) if isinstance(graph, Path) else graph.SerializeToString()
        return _start_session(source, self.device, self._threads)


def _map(path: Path) -> mmap.mmap:
    """Keep hold of a file: a cache may be cleared while this runs."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise EngineError(f"{path} went away while it was read: {error}") from error


def _start_session(source: str | bytes, device: str, threads: int) -> ort.InferenceSession:
    provider = _PROVIDERS[device]
    if provider not in ort.get_available_providers():
        raise EngineError(f"no {device.upper()}, because this onnxruntime lacks {provider}")
    if device == "cuda":
        # Finds CUDA's libraries where they were installed by pip, beside this package.
        ort.preload_dlls()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the CPU from decoding and from other pods.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Fatal errors only: whatever else there is becomes an exception, or a device that is missing.
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(
            source, options, providers=[(provider, _provider_options(device))]
        )
    except Exception as error:  # its exceptions have no common base of their own
        raise EngineError(f"onnxruntime cannot load the network: {error}") from error
    if session.get_providers()[0] != provider:
        raise EngineError(f"no {device.upper()}, because {provider} does not start here")
    return session


def _provider_options(device: str) -> dict[str, Any]:
    if device == "cpu":
        return {}
    # TF32 rounds to 10 bits, which is not what fp32 says; and a search through all algorithms for
    # every new batch size would make its first request wait for seconds.
    return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@cache
def why_no_cuda() -> str | None:
    """Return why ONNX Runtime cannot use CUDA here, or None if it can.

    The package for GPUs names CUDA among its providers wherever it is installed: only a session
    tells whether there are a driver, its libraries and a device.
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
