"""Load a model into an engine, from the cache where what is needed has been made before."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from detector.artefacts import Artefact, Shelf
from detector.engines.base import Engine
from detector.errors import EngineError
from detector.model import Model

if TYPE_CHECKING:
    import onnx
    import openvino as ov

    from detector.engines.openvino import OpenVinoEngine

# Counts the changes of the graph that is made of a network: what an older one made is not used.
RECIPE = "graph 1"
INT8 = "onnx-int8"


def load_darknet(model: Model) -> Engine:
    """Load a model's own files into libdarknet; raises EngineError."""
    from detector.engines.darknet import DarknetEngine  # noqa: PLC0415

    return DarknetEngine(model)


def load_onnxruntime(
    model: Model, precision: str, device: str, threads: int, cache: Path | None
) -> Engine:
    """Load a model into ONNX Runtime; raises ModelError or EngineError."""
    from detector.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415

    return OnnxRuntimeEngine(
        _onnx_file(model, precision, cache), threads=threads, device=device, precision=precision
    )


def load_openvino(model: Model, precision: str, threads: int, cache: Path | None) -> OpenVinoEngine:
    """Load a model into OpenVINO; raises ModelError or EngineError."""
    from detector.engines.openvino import Compiled, OpenVinoEngine  # noqa: PLC0415

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
    from detector.graph import build_graph  # noqa: PLC0415

    return build_graph(model.network, model.read_weights(), half=half)


def find_int8(model: Model, cache: Path | None) -> Artefact:
    """Return the int8 version of a model; raises EngineError with what to do if there is none."""
    hint = "make it with elastic-yolo convert --calibration PICTURES --cache"
    shelf = shelf_of(model, cache)
    if shelf is None:
        raise EngineError(f"int8 needs a cache folder with the converted model: {hint} DIR")
    found = shelf.find(INT8, RECIPE)
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
        kept = shelf.keep(name, RECIPE, {"model.onnx": graph.SerializeToString()})
        if kept is None:
            return graph
    return kept.files["model.onnx"]


def _openvino_model(
    name: str, made_from: str, shelf: Shelf | None, graph: Callable[[], onnx.ModelProto]
) -> tuple[ov.Model, Artefact | None]:
    """Return the network in OpenVINO's own form, its constants mapped from the cache if it can."""
    import openvino as ov  # noqa: PLC0415

    from detector.engines.openvino import read_onnx  # noqa: PLC0415

    kept = None if shelf is None else shelf.recall(name, made_from)
    if kept is None:
        network = read_onnx(graph())
        kept = None if shelf is None else shelf.keep(name, made_from, openvino_files(network))
        if kept is None:
            return network, None
    files = kept.files
    return ov.Core().read_model(str(files["model.xml"]), str(files["model.bin"])), kept


def _read_graph(artefact: Artefact) -> onnx.ModelProto:
    import onnx  # noqa: PLC0415

    return onnx.load(artefact.files["model.onnx"])


def openvino_files(network: ov.Model, *, half: bool = False) -> dict[str, bytes]:
    """Return the two files of OpenVINO's own form, with float16 constants if `half`."""
    import openvino as ov  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="elastic-yolo-") as folder:
        xml = Path(folder) / "model.xml"
        ov.save_model(network, xml, compress_to_fp16=half)
        return {path.name: path.read_bytes() for path in (xml, xml.with_suffix(".bin"))}
