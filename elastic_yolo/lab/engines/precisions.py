"""The table of what each precision costs in accuracy and gains in speed."""

from __future__ import annotations

from elastic_yolo.detector.engines.choose import offered_precisions
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import (
    ExecutionTarget,
    PrecisionMeasurement,
    Report,
    choose_precision,
)
from elastic_yolo.detector.uncertainty import ENOUGH_PICTURES

_GOLDEN = {True: "as expected", False: "FAILED", None: "-"}


def precision_table(report: Report, model: Model) -> str:
    """Return a report as a table, and below it the precision that PRECISION=auto selects here."""
    against = "their labels" if report.labelled else "the detections of fp32"
    what = f"{report.pictures} pictures against {against}, {report.objects} objects"
    lines = [
        f"mAP@0.5 on {what}; {report.machine}",
        _line("engine", "precision", "mAP", "loss", "95 % interval", "moved", "ms")
        + "  golden picture",
        *(_row(row) for row in report.rows),
    ]
    first = report.rows[0]
    offered = offered_precisions(first.engine, first.device)
    place = ExecutionTarget(first.engine, first.device, offered, describe_cpu())
    _, why = choose_precision(report, model.accuracy_budget, place)
    if report.pictures < ENOUGH_PICTURES:
        lines.append(
            f"{report.pictures} pictures: too few to judge; give {ENOUGH_PICTURES} or more"
        )
    return "\n".join([*lines, f"PRECISION=auto here: {why}"])


def _row(row: PrecisionMeasurement) -> str:
    interval = "-" if row.interval is None else "{:.4f} to {:.4f}".format(*row.interval)
    numbers = f"{row.map:.4f}", f"{row.loss:.4f}", interval, f"{row.moved}/{row.boxes}"
    return f"{_line(row.engine, row.precision, *numbers, f'{row.ms:.2f}')}  {_GOLDEN[row.golden]}"


def _line(*cells: str) -> str:
    engine, precision, score, loss, interval, moved, ms = cells
    return f"{engine:<12} {precision:<9} {score:>7} {loss:>8} {interval:>17} {moved:>8} {ms:>8}"
