"""Load a model into an engine, from the cache where what is needed has been made before."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_yolo.detector.artefacts import Artefact, Shelf
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model

if TYPE_CHECKING:
    import onnx
    import openvino as ov

    from elastic_yolo.detector.engines.openvino import OpenVinoEngine

# Count the changes of the graph that is made of a network, and of how it is quantised: what an
# older one made is not used.
RECIPE = "graph 1"
INT8_RECIPE = f"{RECIPE}, int8 2"
INT8 = "onnx-int8"

_LOG = logging.getLogger(__name__)


def load_darknet(model: Model) -> Engine:
    """Load a model's own files into libdarknet; raises EngineError."""
    from elastic_yolo.detector.engines.darknet import DarknetEngine  # noqa: PLC0415

    return DarknetEngine(model)


def load_onnxruntime(
    model: Model, precision: str, device: str, threads: int, cache: Path | None
) -> Engine:
    """Load a model into ONNX Runtime; raises ModelError or EngineError."""
    from elastic_yolo.detector.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415

    return OnnxRuntimeEngine(
        _onnx_file(model, precision, cache), threads=threads, device=device, precision=precision
    )


def load_openvino(model: Model, precision: str, threads: int, cache: Path | None) -> OpenVinoEngine:
    """Load a model into OpenVINO; raises ModelError or EngineError."""
    from elastic_yolo.detector.engines.openvino import Compiled, OpenVinoEngine  # noqa: PLC0415

    shelf = shelf_of(model, cache)
    if precision != "int8":
        network, _ = _openvino_model("openvino-fp32", RECIPE, shelf, lambda: make_graph(model))
        return OpenVinoEngine(network, threads=threads, precision=precision)
    int8 = find_int8(model, cache)
    network, kept = _openvino_model("openvino-int8", int8.digest, shelf, lambda: _read_graph(int8))
    # Compiling integers takes a second for yolov3, twice as long as loading what came of it. For
    # floats it is the other way round: docs/decisions/006-what-the-cache-keeps.md.
    compiled = Compiled(shelf, kept.digest) if shelf and kept else None
    return OpenVinoEngine(network, threads=threads, precision=precision, compiled=compiled)


def shelf_of(model: Model, cache: Path | None) -> Shelf | None:
    """Return the place of a model's artefacts, if there is a cache."""
    return None if cache is None else Shelf(cache, model.digest)


def make_graph(model: Model, *, half: bool = False) -> onnx.ModelProto:
    """Build the ONNX graph of a model from its own files."""
    from elastic_yolo.detector.graph import build_graph  # noqa: PLC0415

    return build_graph(model.network, model.read_weights(), half=half)


def find_int8(model: Model, cache: Path | None) -> Artefact:
    """Return the int8 version of a model; raises EngineError with what to do if there is none."""
    hint = "make it with elastic-yolo convert --calibration PICTURES --cache"
    shelf = shelf_of(model, cache)
    if shelf is None:
        raise EngineError(f"int8 needs a cache folder with the converted model: {hint} DIR")
    found = shelf.find(INT8, INT8_RECIPE)
    if found is None:
        raise EngineError(f"no int8 version of this model in {cache}: {hint} {cache}")
    return found


def _onnx_file(model: Model, precision: str, cache: Path | None) -> onnx.ModelProto | Path:
    if precision == "int8":
        return find_int8(model, cache).files["model.onnx"]
    name, shelf = f"onnx-{precision}", shelf_of(model, cache)
    kept = None if shelf is None else shelf.recall(name, RECIPE)
    if kept is None:
        graph = make_graph(model, half=precision == "fp16")
        if shelf is None:
            return graph
        kept = shelf.keep(name, RECIPE, lambda: {"model.onnx": graph.SerializeToString()})
        if kept is None:
            return graph
    return kept.files["model.onnx"]


def _openvino_model(
    name: str, made_from: str, shelf: Shelf | None, graph: Callable[[], onnx.ModelProto]
) -> tuple[ov.Model, Artefact | None]:
    """Return the network in OpenVINO's own form, its constants mapped from the cache if it can."""
    import openvino as ov  # noqa: PLC0415

    from elastic_yolo.detector.engines.openvino import read_onnx  # noqa: PLC0415

    if shelf is None:
        return read_onnx(graph()), None
    # A form of another version may be one that this one does not read.
    made_from = f"{made_from}, OpenVINO {ov.__version__}"
    kept = shelf.recall(name, made_from)
    network = None if kept is None else _map(kept)
    if network is None:
        made = read_onnx(graph())
        kept = shelf.keep(name, made_from, lambda: openvino_files(made, shelf.folder))
        # Of the two, the one whose constants are mapped takes less memory.
        network = None if kept is None else _map(kept)
        return network or made, kept
    return network, kept


def _map(kept: Artefact) -> ov.Model | None:
    import openvino as ov  # noqa: PLC0415

    try:
        return ov.Core().read_model(str(kept.files["model.xml"]), str(kept.files["model.bin"]))
    except RuntimeError as error:
        # It may have been replaced, or taken away, since it was looked at.
        _LOG.warning("made anew: %s: %s", kept.name, error)
        return None


def _read_graph(artefact: Artefact) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415

    try:
        return onnx.load(artefact.files["model.onnx"])
    except OSError as error:
        raise EngineError(f"{artefact.name} went away while it was read: {error}") from error


def openvino_files(network: ov.Model, place: Path, *, half: bool = False) -> dict[str, bytes]:
    """Return the two files of OpenVINO's own form, with float16 constants if `half`.

    They are written in `place` for a moment: a container may have no other folder to write to.
    """
    import openvino as ov  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=".openvino-", dir=place) as folder:
        xml = Path(folder) / "model.xml"
        ov.save_model(network, xml, compress_to_fp16=half)
        return {path.name: path.read_bytes() for path in (xml, xml.with_suffix(".bin"))}
