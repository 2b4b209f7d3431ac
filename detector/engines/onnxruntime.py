"""Run a network with ONNX Runtime: on CUDA where it is there, on the CPU otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort

from detector.boxes import Floats, Image
from detector.errors import EngineError

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine:
    """A session. On CUDA a batch runs as one; on the CPU picture by picture costs no more."""

    name = "onnxruntime"
    precision = "fp32"

    def __init__(self, graph: onnx.ModelProto, *, threads: int, device: str = "cpu") -> None:
        """Load `graph` for `threads` threads (CPU) on `device`; raises EngineError."""
        self.device = device
        provider = _PROVIDERS[device]
        if provider not in ort.get_available_providers():
            raise EngineError(f"onnxruntime has no {provider} here")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the CPU from decoding and from other pods.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                graph.SerializeToString(), options, providers=[provider]
            )
        except Exception as error:  # its exceptions have no common base of their own
            raise EngineError(f"onnxruntime cannot load the network: {error}") from error
        if self._session.get_providers()[0] != provider:
            raise EngineError(f"onnxruntime could not start {provider}")
        self._input = self._session.get_inputs()[0].name

    def run(self, images: Image) -> list[Floats]:
        """Run a batch; see Engine.run."""
        outputs = self._session.run(None, {self._input: np.ascontiguousarray(images, np.float32)})
        return [np.asarray(output, np.float32) for output in outputs]


def has_cuda() -> bool:
    """Return whether the installed ONNX Runtime can use CUDA."""
    return _PROVIDERS["cuda"] in ort.get_available_providers()
