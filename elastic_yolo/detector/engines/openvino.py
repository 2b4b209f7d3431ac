"""Run a network with OpenVINO on the CPU."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import openvino as ov

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.machine import describe_cpu, may_use_bf16
from elastic_yolo.detector.precision import PRECISIONS
from elastic_yolo.digest import digest_of_bytes

if TYPE_CHECKING:
    # A start from the cache does not need it; importing takes 40 ms.
    import onnx

_LOG = logging.getLogger(__name__)
_BLOB = "model.blob"
_INITIALISING = Lock()
_HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


@dataclass(frozen=True)
class Compiled:
    """Cache for the compiled blob of a network; `source` is the digest of that network."""

    model_cache: ModelCache
    source: str

    @property
    def recipe(self) -> str:
        """Recipe of the blob: another network or OpenVINO version needs another blob."""
        return f"{self.source}, OpenVINO {ov.__version__}"

    def name(self, config: dict[str, object]) -> str:
        """Return the artefact's name for this CPU and these settings: nodes may share a cache."""
        digest = digest_of_bytes(f"{describe_cpu()} {config}".encode())
        return f"openvino-compiled-{digest.removeprefix('sha256:')[:8]}"


class OpenVinoEngine:
    """A network compiled by OpenVINO with one stream: all threads work on one picture."""

    name = "openvino"
    device = "cpu"
    # A batch in one call gains nothing in fp32 and up to a fifth with AMX, and needs a network
    # compiled for every batch size: docs/performance.md.
    batches = False

    def __init__(
        self,
        graph: onnx.ModelProto | ov.Model,
        *,
        threads: int,
        precision: str = "fp32",
        compiled: Compiled | None = None,
    ) -> None:
        """Compile `graph` for `threads` threads; with `compiled`, load or store its compiled blob.

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
        """Compile again with `parts` streams; returns one engine for each; see Engine.split."""
        networks = self._compile(parts)
        return [_Stream(networks, self.precision) for _ in range(parts)]

    def _compile(self, streams: int) -> _Networks:
        config: dict[str, object] = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": self._hint(),
            # With pinning, OpenVINO binds its threads to the first cores that it sees, in every
            # process alike: two pods of one CPU each shared a core and left another idle. See
            # docs/decisions/013-the-kernel-places-threads.md.
            "ENABLE_CPU_PINNING": False,
        }
        return _Networks(self._model, config, self._compiled)

    def _hint(self) -> str:
        if self.precision != "int8":
            return _HINTS[self.precision]
        # The int8 graph defines which layers are in integers; the hint applies to the others.
        return _HINTS["bf16" if "bf16" in offered_precisions() else "fp32"]


class _Stream:
    """One of the concurrent inference requests of a compiled network."""

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
    """A network compiled for a number of streams, once for each dtype of pixels that occurs."""

    def __init__(
        self, model: ov.Model, config: dict[str, object], compiled: Compiled | None
    ) -> None:
        """Compile for uint8 pixels; raises EngineError."""
        _initialise_binding()
        self._core = ov.Core()
        self._model = model
        self._config = config
        self._lock = Lock()
        try:
            self._networks = {"uint8": self._compile(compiled)}
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot compile the network: {error}") from error

    def get(self, pixels: str) -> ov.CompiledModel:
        # float32 pixels (exact=True) are rare: their network is compiled on first use.
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
                compiled.model_cache.try_publish(name, compiled.recipe, lambda: _blob_of(network))
        return network

    def _recall(self, compiled: Compiled) -> ov.CompiledModel | None:
        name = compiled.name(self._config)
        kept = compiled.model_cache.try_load(name, compiled.recipe)
        if kept is None:
            return None
        try:
            blob = kept.files[_BLOB].read_bytes()
            return self._core.import_model(blob, "CPU", self._config)
        except (OSError, RuntimeError) as error:
            _LOG.warning("cannot load cached %s, compiling again: %s", name, error)
            return None


def _blob_of(network: ov.CompiledModel) -> dict[str, bytes]:
    return {_BLOB: network.export_model().getvalue()}


def offered_precisions() -> tuple[str, ...]:
    """Return the precisions that OpenVINO offers on this CPU."""
    able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # OpenVINO lists what the CPU supports, even if ONEDNN_MAX_CPU_ISA excludes it.
    lacking = () if may_use_bf16() else ("bf16", "fp16")
    return tuple(name for name in PRECISIONS if name.upper() in able and name not in lacking)


def read_onnx(graph: onnx.ModelProto) -> ov.Model:
    """Return a graph in OpenVINO's format, with a batch size of 1."""
    model = ov.Core().read_model(graph.SerializeToString())
    height, width = (dim.dim_value for dim in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    model.reshape([1, height, width, 3])
    return model


def _initialise_binding() -> None:
    """Have OpenVINO's Python binding build its table of NumPy's types, in one thread.

    It does so on the first access to a tensor's data, inside of a C++ lock, and lets other threads
    run meanwhile: if one of these makes its own first access then, both wait for each other for
    ever.
    """
    with _INITIALISING:
        ov.Tensor(np.zeros(1, np.float32)).data[:] = 0


def _run_one(request: ov.InferRequest, image: Image) -> list[Floats]:
    request.infer([np.ascontiguousarray(image)])
    # Copies, because the next run overwrites the request's output buffers.
    return [output.data.copy() for output in request.output_tensors]
