"""Choose engine, device and precision: what was asked for, or the fastest that fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import ArtefactDamaged, EngineError
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import Place, choose_precision, read_report

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
    """What was chosen, and why, for the log. The precision is chosen last, for a model."""

    engine: str
    device: str
    why: str
    precision: str = "fp32"


def build_engine(model: Model, options: EngineOptions) -> tuple[Engine, Choice]:
    """Build the chosen engine for a model; raises ModelError or EngineError."""
    choice = _with_precision(choose(options), model, options)
    try:
        return _load(model, choice, options), choice
    except EngineError as error:
        if options.precision != "auto" or choice.precision == "fp32":
            raise
        # What is wrong with the cache does not keep a service from what it can do without.
        choice = replace(choice, precision="fp32", why=f"{choice.why}; fp32 instead: {error}")
        return _load(model, choice, options), choice


def _load(model: Model, choice: Choice, options: EngineOptions) -> Engine:
    match choice.engine:
        case "darknet":
            return load.load_darknet(model)
        case "onnxruntime":
            return load.load_onnxruntime(
                model, choice.precision, choice.device, options.threads, options.cache
            )
        case _:
            return load.load_openvino(model, choice.precision, options.threads, options.cache)


def choose(options: EngineOptions) -> Choice:
    """Decide between the engines and devices that are here; raises EngineError if none fits."""
    if options.engine != "auto":
        return _asked_for(options)
    if options.device == "cuda":
        return _asked_for(replace(options, engine="onnxruntime"))
    no_cuda = "DEVICE=cpu was asked for" if options.device == "cpu" else _why_no_cuda()
    if no_cuda is None:
        return Choice("onnxruntime", "cuda", "CUDA is here")
    for name in ("openvino", "onnxruntime"):
        if find_spec(name) is not None:
            return Choice(name, "cpu", f"{no_cuda}; {name} is installed")
    raise EngineError("no engine is installed: openvino or onnxruntime is needed")


def offered_precisions(engine: str, device: str) -> tuple[str, ...]:
    """Return the precisions that an engine computes in here; imports the engine."""
    match engine:
        case "darknet":
            return ("fp32",)
        case "onnxruntime":
            from elastic_yolo.detector.engines.onnxruntime import OFFERED  # noqa: PLC0415

            return OFFERED[device]
        case _:
            from elastic_yolo.detector.engines.openvino import offered_precisions as here  # noqa: PLC0415

            return here()


def _asked_for(options: EngineOptions) -> Choice:
    engine, device = options.engine, options.device
    if engine != "darknet" and find_spec(engine) is None:
        raise EngineError(f"{engine} is not installed here")
    if engine != "onnxruntime" and device == "cuda":
        raise EngineError(f"{engine} runs on the CPU only: ENGINE=onnxruntime has CUDA")
    why = f"ENGINE={engine} was asked for"
    if engine != "onnxruntime" or device == "cpu":
        return Choice(engine, "cpu", why)
    no_cuda = _why_no_cuda()
    if no_cuda is None:
        return Choice(engine, "cuda", why)
    if device == "cuda":
        raise EngineError(f"DEVICE=cuda was asked for: {no_cuda}")
    return Choice(engine, "cpu", f"{why}; {no_cuda}")


def _with_precision(choice: Choice, model: Model, options: EngineOptions) -> Choice:
    wanted = options.precision
    offered = offered_precisions(choice.engine, choice.device)
    if wanted == "auto":
        place = Place(choice.engine, choice.device, offered, describe_cpu())
        precision, why = _measured_precision(model, options, place)
    elif wanted in offered:
        precision, why = wanted, f"PRECISION={wanted} was asked for"
    elif choice.engine == "openvino" and wanted in ("bf16", "fp16"):
        # A pod may land on any node: one whose CPU is older answers the same, only later.
        precision, why = "fp32", f"fp32, because this CPU has no {wanted}"
    else:
        raise EngineError(
            f"{choice.engine} computes in {', '.join(offered)} on {choice.device}, not in {wanted}"
        )
    return replace(choice, precision=precision, why=f"{choice.why}; {why}")


def _measured_precision(model: Model, options: EngineOptions, place: Place) -> tuple[str, str]:
    shelf = load.shelf_of(model, options.cache)
    try:
        report = None if shelf is None else read_report(shelf, load.INT8_RECIPE)
    except ArtefactDamaged as error:
        return "fp32", f"fp32, because what was measured is lost: {error}"
    return choose_precision(report, model.accuracy_budget, place)


def _why_no_cuda() -> str | None:
    spec = find_spec("onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        return "no CUDA, because onnxruntime is not installed"
    # The file tells at once what importing the package would tell after a tenth of a second.
    package = Path(spec.submodule_search_locations[0])
    if not (package / "capi" / "libonnxruntime_providers_cuda.so").is_file():
        return "no CUDA, because this onnxruntime is the one for CPUs"
    from elastic_yolo.detector.engines.onnxruntime import why_no_cuda  # noqa: PLC0415

    return why_no_cuda()
