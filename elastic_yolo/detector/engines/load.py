"""Load a model into an engine, from cached artefacts where these exist."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from elastic_yolo.detector.artefacts import Artefact, ModelCache
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.model import Model
from elastic_yolo.durable import UNFINISHED
from elastic_yolo.write_errors import require_writable

if TYPE_CHECKING:
    import onnx
    import openvino as ov

    from elastic_yolo.detector.engines.openvino import OpenVinoEngine

# Versions of graph construction and of quantisation. Increase one if its result changes: artefacts
# with an older recipe are not used.
RECIPE = "graph 1"
INT8_RECIPE = f"{RECIPE}, int8 4"
INT8 = "onnx-int8"
OPENVINO_FLOATS = "openvino-fp32"

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

    model_cache = model_cache_of(model, cache)
    if precision != "int8":
        network, _ = _openvino_model(
            OPENVINO_FLOATS, RECIPE, model_cache, lambda: make_graph(model)
        )
        return OpenVinoEngine(network, threads=threads, precision=precision)
    int8 = find_int8(model, cache)
    network, kept = _openvino_model(
        "openvino-int8", int8.digest, model_cache, lambda: int8_graph_for_openvino(int8)
    )
    # Compiling int8 takes a second for yolov3, twice as long as loading the compiled blob. For
    # floats a blob does not pay off: docs/decisions/006-what-the-cache-keeps.md.
    compiled = Compiled(model_cache, kept.digest) if model_cache and kept else None
    return OpenVinoEngine(network, threads=threads, precision=precision, compiled=compiled)


def model_cache_of(model: Model, cache: Path | None) -> ModelCache | None:
    """Return the cached artefacts of a model, or None without a cache folder."""
    return None if cache is None else ModelCache(cache, model.cache_key)


def make_graph(model: Model, *, half: bool = False) -> onnx.ModelProto:
    """Build the ONNX graph of a model from its Darknet files."""
    from elastic_yolo.detector.graph import build_graph  # noqa: PLC0415

    return build_graph(model.network, model.read_weights(), half=half)


def find_int8(model: Model, cache: Path | None) -> Artefact:
    """Return the cached int8 version of a model; raises EngineError if it does not exist."""
    hint = "run elastic-yolo convert --calibration PICTURES --cache"
    model_cache = model_cache_of(model, cache)
    if model_cache is None:
        raise EngineError(f"int8 needs a cache folder with the quantised model: {hint} DIR")
    found = model_cache.load(INT8, INT8_RECIPE)
    if found is None:
        raise EngineError(f"no int8 version of this model in {cache}: {hint} {cache}")
    return found


def _onnx_file(model: Model, precision: str, cache: Path | None) -> onnx.ModelProto | Path:
    if precision == "int8":
        return find_int8(model, cache).files["model.onnx"]
    name, model_cache = f"onnx-{precision}", model_cache_of(model, cache)
    kept = None if model_cache is None else model_cache.try_load(name, RECIPE)
    if kept is None:
        graph = make_graph(model, half=precision == "fp16")
        if model_cache is None:
            return graph
        kept = model_cache.try_publish(
            name, RECIPE, lambda: {"model.onnx": graph.SerializeToString()}
        )
        if kept is None:
            return graph
    return kept.files["model.onnx"]


def _openvino_model(
    name: str, recipe: str, model_cache: ModelCache | None, graph: Callable[[], onnx.ModelProto]
) -> tuple[ov.Model, Artefact | None]:
    """Return the network in OpenVINO's format and its artefact, if it is cached.

    Constants of a cached network are memory-mapped.
    """
    import openvino as ov  # noqa: PLC0415

    from elastic_yolo.detector.engines.openvino import read_onnx  # noqa: PLC0415

    if model_cache is None:
        return read_onnx(graph()), None
    # This version may not read the format of another version.
    recipe = f"{recipe}, OpenVINO {ov.__version__}"
    kept = model_cache.try_load(name, recipe)
    network = None if kept is None else _map(kept)
    if network is None:
        made = read_onnx(graph())
        kept = model_cache.try_publish(
            name, recipe, lambda: openvino_files(made, model_cache.folder)
        )
        # Prefers the cached copy, whose mapped constants take less memory.
        network = None if kept is None else _map(kept)
        return network or made, kept
    return network, kept


def publish_floats(model: Model, cache: Path) -> None:
    """Cache a model's network in OpenVINO's format; raises OSError, which `load_openvino` logs."""
    import openvino as ov  # noqa: PLC0415

    from elastic_yolo.detector.engines.openvino import read_onnx  # noqa: PLC0415

    model_cache = ModelCache(cache, model.cache_key)
    model_cache.create_folder()
    files = openvino_files(read_onnx(make_graph(model)), model_cache.folder)
    model_cache.publish(OPENVINO_FLOATS, f"{RECIPE}, OpenVINO {ov.__version__}", files)


def _map(kept: Artefact) -> ov.Model | None:
    import openvino as ov  # noqa: PLC0415

    try:
        return ov.Core().read_model(str(kept.files["model.xml"]), str(kept.files["model.bin"]))
    except RuntimeError as error:
        # Another process may have replaced or deleted the files since their digests were checked.
        _LOG.warning("cannot load cached %s, making it again: %s", kept.name, error)
        return None


def int8_graph_for_openvino(artefact: Artefact) -> onnx.ModelProto:
    """Return the graph of an int8 artefact without what only ONNX Runtime needs."""
    import onnx  # noqa: PLC0415

    from elastic_yolo.detector.int8.pairs import without_optional_pairs  # noqa: PLC0415

    try:
        return without_optional_pairs(onnx.load(artefact.files["model.onnx"]))
    except OSError as error:
        raise EngineError(f"{artefact.name} was deleted while it was read: {error}") from error


def openvino_files(network: ov.Model, place: Path, *, half: bool = False) -> dict[str, bytes]:
    """Return the content of OpenVINO's .xml and .bin file, with float16 constants if `half`.

    Writes temporary files to `place`: a container may have no other writable folder. Raises
    OSError if that cannot be written to.
    """
    import openvino as ov  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=place) as folder:
        xml = Path(folder) / "model.xml"
        try:
            ov.save_model(network, xml, compress_to_fp16=half)
        except RuntimeError:
            # On a full disk OpenVINO says "basic_ios::clear: iostream error". Here, while its
            # unfinished files take the space.
            require_writable(Path(folder))
            raise
        return {path.name: path.read_bytes() for path in (xml, xml.with_suffix(".bin"))}
