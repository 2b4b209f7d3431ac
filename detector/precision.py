"""What a number format costs in accuracy, as measured at conversion, and which one that allows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

from detector.artefacts import Shelf
from detector.errors import ArtefactDamaged

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
REPORT = "accuracy"
# The usual order, fastest first, for machines on which nothing was measured. CPUs that offer fp16
# may take longer with it than with fp32 (Sapphire Rapids: 18.7 against 10.4 ms).
_USUALLY = {"cpu": ("int8", "bf16", "fp32"), "cuda": ("fp16", "fp32")}


@dataclass(frozen=True)
class Measured:
    """One precision in one engine: mAP@0.5, what of it fp32 has more, milliseconds a picture."""

    engine: str
    device: str
    precision: str
    map: float
    loss: float
    ms: float


@dataclass(frozen=True)
class Report:
    """What was measured of a model.

    With `labelled` pictures the mAP is over their labels, otherwise over what fp32 finds in them.
    `machine` is what the milliseconds were measured on.
    """

    pictures: int
    labelled: bool
    machine: str
    rows: tuple[Measured, ...]


@dataclass(frozen=True)
class Place:
    """Where a network is to run, and the precisions that are offered there."""

    engine: str
    device: str
    offered: Collection[str]
    machine: str


def write_report(shelf: Shelf, report: Report, made_from: str) -> None:
    """Keep a report beside the artefacts that it is about; raises OSError."""
    shelf.publish(REPORT, made_from, {}, asdict(report))


def read_report(shelf: Shelf, made_from: str) -> Report | None:
    """Return the report about the artefacts made by a recipe; raises ArtefactDamaged."""
    found = shelf.find(REPORT, made_from)
    if found is None:
        return None
    try:
        facts = dict(found.facts)
        rows = tuple(Measured(**row) for row in facts.pop("rows"))
        return Report(**facts, rows=rows)
    except (KeyError, TypeError) as error:
        raise ArtefactDamaged(f"{shelf.folder / REPORT}.json is no report: {error}") from error


def choose_precision(report: Report | None, budget: float, place: Place) -> tuple[str, str]:
    """Return the fastest precision that is offered here and loses at most `budget`, and why.

    Milliseconds count where they were measured on this kind of machine; elsewhere, and for
    engines that were not measured, the usual order does. What was never measured is not chosen.
    """
    if report is None:
        return "fp32", "fp32, because nobody measured what less costs: elastic-yolo convert does"
    loss = {row.precision: row.loss for row in report.rows if row.loss <= budget}
    ms = {
        row.precision: row.ms
        for row in report.rows
        if (row.engine, row.device, report.machine) == (place.engine, place.device, place.machine)
    }
    if ms:
        allowed = sorted(ms.keys() & loss.keys() & set(place.offered), key=lambda name: ms[name])
        how = "the fastest as measured on this kind of machine"
    else:
        usual = _USUALLY[place.device]
        allowed = [name for name in usual if name in loss and name in place.offered]
        how = "usually the fastest"
    if not allowed:
        return "fp32", f"fp32, because all else that was measured loses more than {budget} of mAP"
    best = allowed[0]
    return best, f"{best}, {how}, which loses {loss[best]:.4f} of mAP, at most {budget} allowed"
