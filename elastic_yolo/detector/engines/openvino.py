"""Run a network with OpenVINO on the CPU."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from elastic_yolo.detector.artefacts import Shelf
from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.machine import describe_cpu, may_use_bf16
from elastic_yolo.detector.precision import PRECISIONS
from elastic_yolo.digest import digest_of_bytes

if TYPE_CHECKING:
    # A start from the cache does without it: 40 ms.
    import onnx

_LOG = logging.getLogger(__name__)
_BLOB = "model.blob"
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@dataclass(frozen=True)
class Compiled:
    """Where the compiled form of a network is kept, and the digest of that network."""

    shelf: Shelf
    source: str

    @property
    def made_from(self) -> str:
        """What the compiled form is good for."""
        return f"{self.source}, OpenVINO {ov.__version__}"

    def name(self, config: dict[str, object]) -> str:
        """Return a name for this kind of CPU and these settings: nodes may share a cache."""
        place = digest_of_bytes(f"{describe_cpu()} {config}".encode())
        return f"openvino-compiled-{place.removeprefix('sha256:')[:8]}"


class OpenVinoEngine:
    """A compiled OpenVINO model with one stream: all threads work on one picture."""

    name = "openvino"
    device = "cpu"
    # A real batch would gain nothing in fp32 and up to a fifth with AMX, for a network compiled
    # once more for every size: docs/performance.md.
    batches = False

    def __init__(
        self,
        graph: onnx.ModelProto | ov.Model,
        *,
        threads: int,
        precision: str = "fp32",
        compiled: Compiled | None = None,
    ) -> None:
        """Compile `graph` for `threads` threads; `compiled` keeps what takes long to compile.

        Raises EngineError.
        """
        self.precision = precision
        self._threads = threads
        self._compiled = compiled
        try:
            self._model = graph if isinstance(graph, ov.Model) else read_onnx(graph)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot read the network: {error}") from error
        self._stream = _Stream(self._compile(streams=1), precision)

    def execute(self, images: Image) -> list[Floats]:
        """Run a batch, picture by picture; see Engine.execute."""
        return self._stream.execute(images)

    def split(self, parts: int) -> list[Engine]:
        """Compile once more, with `parts` streams, and return them; see Engine.split."""
        networks = self._compile(parts)
        return [_Stream(networks, self.precision) for _ in range(parts)]

    def _compile(self, streams: int) -> _Networks:
        config: dict[str, object] = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": self._hint(),
            # OpenVINO would bind its threads to the first cores it sees, and so would every other
            # process on the machine: two pods of one CPU each shared a core and left one idle.
            "ENABLE_CPU_PINNING": False,
        }
        return _Networks(self._model, config, self._compiled)

    def _hint(self) -> str:
        if self.precision != "int8":
            return _HINTS[self.precision]
        # An int8 graph says itself what is in integers; the hint is for the rest of it.
        return _HINTS["bf16" if "bf16" in offered_precisions() else "fp32"]


class _Stream:
    """One at a time of the requests that a compiled network can run at once."""

    name = OpenVinoEngine.name
    device = OpenVinoEngine.device
    batches = OpenVinoEngine.batches

    def __init__(self, networks: _Networks, precision: str) -> None:
        self.precision = precision
        self._networks = networks
        self._requests = {"uint8": networks.get("uint8").create_infer_request()}

    def execute(self, images: Image) -> list[Floats]:
        pixels = images.dtype.name
        if pixels not in self._requests:
            self._requests[pixels] = self._networks.get(pixels).create_infer_request()
        request = self._requests[pixels]
        answers = [_run_one(request, images[i : i + 1]) for i in range(len(images))]
        if len(answers) == 1:
            return answers[0]
        return [np.concatenate(head) for head in zip(*answers, strict=True)]

    def split(self, parts: int) -> list[Engine]:  # noqa: ARG002
        return []


class _Networks:
    """A network compiled for some streams, for each kind of pixels that has come."""

    def __init__(
        self, model: ov.Model, config: dict[str, object], compiled: Compiled | None
    ) -> None:
        """Compile for pixels in uint8; raises EngineError."""
        self._core = ov.Core()
        self._model = model
        self._config = config
        self._lock = Lock()
        try:
            self._networks = {"uint8": self._compile(compiled)}
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile the network: {error}") from error

    def get(self, pixels: str) -> ov.CompiledModel:
        # Pixels that were never rounded are asked for seldom: they get a network of their own when
        # the first ones come.
        with self._lock:
            if pixels not in self._networks:
                model = self._model.clone()
                model.input(0).get_node().set_element_type(ov.Type.f32)
                model.validate_nodes_and_infer_types()
                self._networks[pixels] = self._core.compile_model(model, "CPU", self._config)
            return self._networks[pixels]

    def _compile(self, compiled: Compiled | None) -> ov.CompiledModel:
        network = None if compiled is None else self._recall(compiled)
        if network is None:
            network = self._core.compile_model(self._model, "CPU", self._config)
            if compiled is not None:
                name = compiled.name(self._config)
                compiled.shelf.keep(name, compiled.made_from, lambda: _blob_of(network))
        return network

    def _recall(self, compiled: Compiled) -> ov.CompiledModel | None:
        name = compiled.name(self._config)
        kept = compiled.shelf.recall(name, compiled.made_from)
        if kept is None:
            return None
        try:
            blob = kept.files[_BLOB].read_bytes()
            return self._core.import_model(blob, "CPU", self._config)
        except (OSError, RuntimeError) as error:
            _LOG.warning("compiled anew: %s: %s", name, error)
            return None


def _blob_of(network: ov.CompiledModel) -> dict[str, bytes]:
    return {_BLOB: network.export_model().getvalue()}


def offered_precisions() -> tuple[str, ...]:
    """Return the precisions that OpenVINO computes in on this CPU."""
    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # OpenVINO lists what the CPU has, also where oneDNN was told to do as on an older one.
    lacking = () if may_use_bf16() else ("bf16", "fp16")
    return tuple(name for name in PRECISIONS if name.upper() in able and name not in lacking)


def read_onnx(graph: onnx.ModelProto) -> ov.Model:
    """Return OpenVINO's form of a graph, for one picture at a time."""
    model = ov.Core().read_model(graph.SerializeToString())
    height, width = (dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    model.reshape([1, height, width, 3])
    return model


def _run_one(request: ov.InferRequest, image: Image) -> list[Floats]:
    request.infer([np.ascontiguousarray(image)])
    # The request's output buffers are overwritten by the next run.
    return [output.data.copy() for output in request.output_tensors]
