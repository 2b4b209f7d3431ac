"""Choose engine, device and precision: the requested ones, or for `auto` the fastest that fit."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from elastic_yolo.detector.arguments import check_choice, check_count, check_folder
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import ArtefactDamaged, EngineError
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import (
    PRECISIONS,
    ExecutionTarget,
    choose_precision,
    read_report,
)

ENGINES = ("openvino", "onnxruntime", "darknet")
DEVICES = ("cpu", "cuda")
# More than any machine has CPUs; a hundred thousand end the process inside ONNX Runtime.
MOST_THREADS = 4096


@dataclass(frozen=True)
class EngineOptions:
    """The requested engine, precision and device; `auto` selects one.

    `threads` applies to CPU engines; `cache` is the folder of cached artefacts. Raises ValueError
    for a value that is none of these.
    """

    threads: int
    engine: str = "auto"
    precision: str = "auto"
    device: str = "auto"
    cache: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Check all values: most others would be taken for `auto`."""
        check_count("threads", self.threads, MOST_THREADS)
        check_choice("engine", self.engine, ("auto", *ENGINES))
        check_choice("precision", self.precision, ("auto", *PRECISIONS))
        check_choice("device", self.device, ("auto", *DEVICES))
        check_folder("cache", self.cache)

    @property
    def cache_folder(self) -> Path | None:
        """`cache` as a Path."""
        return None if self.cache is None else Path(self.cache)


@dataclass(frozen=True)
class Choice:
    """The selected engine, device and precision, and the reason for the log.

    `build_engine` selects the precision, because it depends on the model; `choose` leaves it fp32.
    """

    engine: str
    device: str
    why: str
    precision: str = "fp32"


def build_engine(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
    """Choose an engine and load a model into it; raises ModelError or EngineError."""
    choice = _with_precision(choose(options), model, options)
    try:
        return _load(model, choice, options), choice
    except EngineError as error:
        if options.precision != "auto" or choice.precision == "fp32":
            raise
        # With `auto`, a damaged cache must not stop a service that can run in fp32.
        choice = replace(choice, precision="fp32", why=f"{choice.why}; fp32 instead: {error}")
        return _load(model, choice, options), choice


def _load(model: Model, choice: Choice, options: EngineOptions) -> Engine:
    match choice.engine:
        case "darknet":
            return load.load_darknet(model)
        case "onnxruntime":
            return load.load_onnxruntime(
                model, choice.precision, choice.device, options.threads, options.cache_folder
            )
        case _:
            return load.load_openvino(
                model, choice.precision, options.threads, options.cache_folder
            )


def choose(options: EngineOptions) -> Choice:
    """Choose an installed engine and an available device; raises EngineError if none fits."""
    if options.engine != "auto":
        return _requested(options)
    if options.device == "cuda":
        return _requested(replace(options, engine="onnxruntime"))
    no_cuda = "DEVICE=cpu" if options.device == "cpu" else _why_no_cuda()
    if no_cuda is None:
        return Choice("onnxruntime", "cuda", "onnxruntime on CUDA")
    for name in ("openvino", "onnxruntime"):
        if find_spec(name) is not None:
            return Choice(name, "cpu", f"{name} on the CPU ({no_cuda})")
    raise EngineError("no engine is installed: install 'elastic-yolo[detect]'")


def offered_precisions(engine: str, device: str) -> tuple[str, ...]:
    """Return the precisions that an engine offers on this machine; imports the engine."""
    match engine:
        case "darknet":
            return ("fp32",)
        case "onnxruntime":
            from elastic_yolo.detector.engines.onnxruntime import OFFERED  # noqa: PLC0415

            return OFFERED[device]
        case _:
            from elastic_yolo.detector.engines import openvino  # noqa: PLC0415

            return openvino.offered_precisions()


def _requested(options: EngineOptions) -> Choice:
    engine, device = options.engine, options.device
    if engine != "darknet" and find_spec(engine) is None:
        raise EngineError(f"{engine} is not installed")
    if engine != "onnxruntime" and device == "cuda":
        raise EngineError(f"{engine} runs on the CPU only: use ENGINE=onnxruntime for CUDA")
    why = f"ENGINE={engine}"
    if engine != "onnxruntime" or device == "cpu":
        return Choice(engine, "cpu", why)
    no_cuda = _why_no_cuda()
    if no_cuda is None:
        return Choice(engine, "cuda", why)
    if device == "cuda":
        raise EngineError(f"DEVICE=cuda: {no_cuda}")
    return Choice(engine, "cpu", f"{why}; {no_cuda}")


def _with_precision(choice: Choice, model: Model, options: EngineOptions) -> Choice:
    wanted = options.precision
    offered = offered_precisions(choice.engine, choice.device)
    if wanted == "auto":
        target = ExecutionTarget(choice.engine, choice.device, offered, describe_cpu())
        precision, why = _measured_precision(model, options, target)
    elif wanted in offered:
        precision, why = wanted, f"PRECISION={wanted}"
    elif choice.engine == "openvino" and wanted in ("bf16", "fp16"):
        # Kubernetes may schedule a pod on a node with an older CPU: it must run there, only slower.
        precision, why = "fp32", f"fp32, because this CPU has no {wanted}"
    else:
        raise EngineError(
            f"PRECISION={wanted}: {choice.engine} on {choice.device} has only {', '.join(offered)}"
        )
    return replace(choice, precision=precision, why=f"{choice.why}; {why}")


def _measured_precision(
    model: Model, options: EngineOptions, target: ExecutionTarget
) -> tuple[str, str]:
    model_cache = load.model_cache_of(model, options.cache_folder)
    try:
        report = None if model_cache is None else read_report(model_cache, load.INT8_RECIPE)
    except ArtefactDamaged as error:
        return "fp32", f"fp32, because the accuracy report is damaged: {error}"
    return choose_precision(report, model.accuracy_budget, target)


def _why_no_cuda() -> str | None:
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return "no CUDA, because onnxruntime is not installed"
    # Checking for this file avoids importing the package, which takes a tenth of a second.
    package = Path(spec.submodule_search_locations[0])
    if not (package / "capi" / "libonnxruntime_providers_cuda.so").is_file():
        return "no CUDA, because the installed onnxruntime is for CPUs only"
    from elastic_yolo.detector.engines.onnxruntime import why_no_cuda  # noqa: PLC0415

    return why_no_cuda()
