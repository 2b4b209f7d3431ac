"""Choose an engine: what was asked for, or the fastest that is installed and fits."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from detector.artefacts import read_quantised
from detector.engines.base import Engine
from detector.errors import EngineError
from detector.graph import build_graph
from detector.model import Model

ENGINES = ("openvino", "onnxruntime", "darknet")


@dataclass(frozen=True)
class EngineOptions:
    """What is wanted; `auto` leaves the choice to us. `threads` is for CPU engines."""

    threads: int
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    cache: Path | None = None


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why, for the log."""

    engine: str
    device: str
    why: str


def choose(options: EngineOptions) -> Choice:
    """Decide between the engines and devices that are here; raises EngineError if none fits."""
    if options.engine != "auto":
        device = _device_for(options)
        return Choice(options.engine, device, f"ENGINE={options.engine} was asked for")
    if options.device == "cuda":
        return Choice("onnxruntime", "cuda", "DEVICE=cuda was asked for")
    if options.device == "auto" and _cuda_is_here():
        return Choice("onnxruntime", "cuda", "CUDA is here")
    for name in ("openvino", "onnxruntime"):
        if find_spec(name) is not None:
            return Choice(name, "cpu", f"no CUDA here or wanted; {name} is installed")
    raise EngineError("no engine is installed: openvino or onnxruntime is needed")


def build_engine(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
    """Build the chosen engine for a model; raises EngineError."""
    choice = choose(options)
    if choice.engine != "darknet" and find_spec(choice.engine) is None:
        raise EngineError(f"{choice.engine} is not installed here")
    if choice.engine != "openvino" and options.precision not in ("auto", "fp32"):
        raise EngineError(f"{choice.engine} computes in fp32 here, not in {options.precision}")
    return _build(model, options, choice), choice


def _build(model: Model, options: EngineOptions, choice: Choice) -> Engine:
    # Imported where they are used: an image holds one of them.
    match choice.engine:
        case "darknet":
            from detector.engines.darknet import DarknetEngine  # noqa: PLC0415

            return DarknetEngine(model)
        case "onnxruntime":
            from detector.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415

            graph = build_graph(model.network, model.read_weights())
            return OnnxRuntimeEngine(graph, threads=options.threads, device=choice.device)
        case _:
            from detector.engines.openvino import OpenVinoEngine  # noqa: PLC0415

            precision = "fp32" if options.precision == "auto" else options.precision
            if precision == "int8":
                graph = read_quantised(options.cache, model.digest).graph
            else:
                graph = build_graph(model.network, model.read_weights())
            return OpenVinoEngine(
                graph, threads=options.threads, precision=precision, cache=options.cache
            )


def _device_for(options: EngineOptions) -> str:
    if options.engine == "onnxruntime":
        if options.device == "auto":
            return "cuda" if _cuda_is_here() else "cpu"
        return options.device
    if options.device == "cuda":
        raise EngineError(f"{options.engine} runs on the CPU only: ENGINE=onnxruntime has CUDA")
    return "cpu"


def _cuda_is_here() -> bool:
    if find_spec("onnxruntime") is None:
        return False
    from detector.engines.onnxruntime import has_cuda  # noqa: PLC0415

    return has_cuda()
