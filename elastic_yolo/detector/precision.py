"""What a number format costs in accuracy, as measured at conversion, and which one that allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from elastic_yolo.detector.artefacts import Shelf
from elastic_yolo.detector.errors import ArtefactDamaged

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
REPORT = "accuracy"
# The usual order, fastest first, for machines on which nothing was measured. CPUs that offer fp16
# may take longer with it than with fp32 (Sapphire Rapids: 18.7 against 10.4 ms).
_USUALLY = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("fp16", "fp32")}

_Count = Annotated[int, Field(ge=0)]
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Difference = Annotated[float, Field(ge=-1, le=1)]
_Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Measured:
    """One precision in one engine: mAP@0.5, what of it fp32 has more, milliseconds a picture.

    `golden` is whether the model's golden picture was answered as expected; None without one.
    """

    engine: str
    device: str
    precision: Annotated[str, Field(pattern=f"^({'|'.join(PRECISIONS)})$")]
    map: _Fraction
    loss: _Difference
    ms: _Positive
    golden: bool | None = None


@dataclass(frozen=True)
class Report:
    """What was measured of a model.

    With `labelled` pictures the mAP is over their labels, otherwise over what fp32 finds in them;
    `objects` is how many that are. `machine` is what the milliseconds were measured on.
    """

    pictures: _Count
    objects: _Count
    labelled: bool
    machine: str
    rows: tuple[Measured, ...]


_REPORTS = TypeAdapter(Report)


@dataclass(frozen=True)
class Place:
    """Where a network is to run, and the precisions that are offered there."""

    engine: str
    device: str
    offered: Collection[str]
    machine: str

    def measured(self, row: Measured) -> bool:
        """Return whether a row is about this engine on this device."""
        return (row.engine, row.device) == (self.engine, self.device)


def write_report(shelf: Shelf, report: Report, made_from: str) -> None:
    """Keep a report beside the artefacts that it is about; raises OSError."""
    shelf.publish(REPORT, made_from, {}, asdict(report))


def read_report(shelf: Shelf, made_from: str) -> Report | None:
    """Return the report about the artefacts made by a recipe; raises ArtefactDamaged."""
    found = shelf.find(REPORT, made_from)
    if found is None:
        return None
    try:
        return _REPORTS.validate_python(found.facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtefactDamaged(f"{shelf.folder / REPORT}.json: {where}: {first['msg']}") from error


def choose_precision(report: Report | None, budget: float, place: Place) -> tuple[str, str]:
    """Return the fastest precision that is offered here and loses at most `budget`, and why.

    Milliseconds count where they were measured on this kind of machine; elsewhere the usual order
    does. What was never measured, or fails the golden picture, is not chosen.
    """
    if report is None:
        return "fp32", "fp32, because nobody measured what less costs: elastic-yolo convert does"
    good = [
        row
        for row in report.rows
        # Integers are the same graph in every engine; shorter floats are each engine's own.
        if (place.measured(row) or row.precision == "int8")
        and row.precision in place.offered
        and row.loss <= budget
        and row.golden is not False
    ]
    loss = {row.precision: row.loss for row in good}
    ms = {row.precision: row.ms for row in good if place.measured(row)}
    if ms and report.machine == place.machine:
        allowed = sorted(ms, key=lambda name: ms[name])
        how = "the fastest as measured on this kind of machine"
    else:
        allowed = [name for name in _USUALLY[place.device] if name in loss]
        how = "usually the fastest"
    if not allowed:
        return "fp32", f"fp32, because nothing else was measured to lose at most {budget} of mAP"
    best = allowed[0]
    return best, f"{best}, {how}, which loses {loss[best]:.4f} of mAP, at most {budget} allowed"
