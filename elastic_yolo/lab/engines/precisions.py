"""The table of what each precision costs in accuracy and gains in speed."""

from __future__ import annotations

from elastic_yolo.detector.engines.choose import offered_precisions
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import ExecutionTarget, Report, choose_precision

_GOLDEN = {True: "as expected", False: "FAILED", None: "-"}


def precision_table(report: Report, model: Model) -> str:
    """Return a report as a table, and below it the precision that PRECISION=auto selects here."""
    against = "their labels" if report.labelled else "the detections of fp32"
    what = f"{report.pictures} pictures against {against}, {report.objects} objects"
    lines = [
        f"mAP@0.5 on {what}; {report.machine}",
        f"{'engine':<12} {'precision':<9} {'mAP':>7} {'loss':>8} {'ms':>8}  golden picture",
        *(
            f"{row.engine:<12} {row.precision:<9} {row.map:7.4f} {row.loss:8.4f} {row.ms:8.2f}  "
            f"{_GOLDEN[row.golden]}"
            for row in report.rows
        ),
    ]
    first = report.rows[0]
    offered = offered_precisions(first.engine, first.device)
    place = ExecutionTarget(first.engine, first.device, offered, describe_cpu())
    _, why = choose_precision(report, model.accuracy_budget, place)
    return "\n".join([*lines, f"PRECISION=auto here: {why}"])
