"""The accuracy report that `elastic-yolo convert` writes, and the precision that it allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.detector.uncertainty import ENOUGH_PICTURES

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
REPORT = "accuracy"
_UNMEASURED = (
    "fp32, because no other precision has been measured: run `elastic-yolo convert --cache DIR`"
)
# Usual order, fastest first, for machines without measurements. fp16 is not in the list for CPUs:
# it may be slower there than fp32 (Sapphire Rapids: 18.7 against 10.4 ms).
_USUALLY = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("fp16", "fp32")}

_Count = Annotated[int, Field(ge=0)]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=-1, le=1)]
_Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class PrecisionMeasurement:
    """One precision of one engine: its mAP@0.5, the loss against fp32, and ms for a picture.

    `golden` is whether the golden picture's detections were as expected; None without one.
    `interval` is the 95 % interval of the loss. Of `boxes`, those of fp32 with at least the model's
    threshold, `moved` overlap less than 0.9 with their counterparts; `worst` is the least overlap.
    """

    engine: str
    device: str
    precision: Annotated[str, Field(pattern=f"^({'|'.join(PRECISIONS)})$")]
    map: _Fraction
    loss: _Difference
    ms: _Positive
    golden: bool | None = None
    interval: tuple[_Difference, _Difference] | None = None
    boxes: _Count = 0
    moved: _Count = 0
    worst: _Fraction = 1.0


@dataclass(frozen=True)
class Report:
    """The measurements of a model.

    With `labelled` pictures the mAP is against their labels, otherwise against the detections of
    fp32; `objects` is the number of these. `machine` is the CPU that ran the measurements.
    """

    pictures: _Count
    objects: _Count
    labelled: bool
    machine: str
    rows: tuple[PrecisionMeasurement, ...]


_REPORTS = TypeAdapter(Report)


@dataclass(frozen=True)
class ExecutionTarget:
    """Engine and device that will run a network, and the precisions that they offer."""

    engine: str
    device: str
    offered: Collection[str]
    machine: str

    def matches(self, row: PrecisionMeasurement) -> bool:
        """Return whether a row was measured with this engine on this device."""
        return (row.engine, row.device) == (self.engine, self.device)


def write_report(model_cache: ModelCache, report: Report, recipe: str) -> None:
    """Write a report beside the artefacts that it describes; raises OSError."""
    model_cache.publish(REPORT, recipe, {}, asdict(report))


def read_report(model_cache: ModelCache, recipe: str) -> Report | None:
    """Return the report on artefacts of this recipe, or None; raises ArtefactDamaged."""
    found = model_cache.load(REPORT, recipe)
    if found is None:
        return None
    try:
        return _REPORTS.validate_python(found.facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtefactDamaged(
            f"{model_cache.folder / REPORT}.json: {where}: {first['msg']}"
        ) from error


def choose_precision(
    report: Report | None, budget: float, target: ExecutionTarget
) -> tuple[str, str]:
    """Return the fastest precision that the target offers and that loses at most `budget`, and why.

    `budget` is in mAP. Precisions are ordered by the measured milliseconds if the report is from
    the same kind of machine, and by the usual order otherwise. A precision without a measurement,
    or that fails the golden picture, is never chosen. The measured loss decides, not the end of its
    interval: with few pictures the interval of every precision exceeds the budget.
    """
    if report is None:
        return "fp32", _UNMEASURED
    good = [
        row
        for row in report.rows
        # int8 is the same quantised graph in every engine; bf16 and fp16 differ between engines.
        if (target.matches(row) or row.precision == "int8")
        and row.precision in target.offered
        and row.loss <= budget
        and row.golden is not False
    ]
    loss = {row.precision: describe_loss(row, report.pictures) for row in good}
    ms = {row.precision: row.ms for row in good if target.matches(row)}
    if ms and report.machine == target.machine:
        allowed = sorted(ms, key=lambda name: ms[name])
        how = "the fastest measured on this kind of machine"
    else:
        allowed = [name for name in _USUALLY[target.device] if name in loss]
        how = "usually the fastest"
    if not allowed:
        return "fp32", f"fp32; no other measured precision loses at most {budget} of mAP"
    best = allowed[0]
    return best, f"{best}, {how}; it loses {loss[best]}, the budget is {budget}"


def describe_loss(row: PrecisionMeasurement, pictures: int) -> str:
    """Return the loss of a precision in words, with how sure it is."""
    if row.interval is None:
        return f"{row.loss:.4f} of mAP"
    low, high = row.interval
    few = "" if pictures >= ENOUGH_PICTURES else ": too few to judge"
    return (
        f"{row.loss:.4f} of mAP (95 % interval {low:.4f} to {high:.4f}, {pictures} pictures{few})"
    )
