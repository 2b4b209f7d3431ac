"""The precision that PRECISION=auto selects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.detector.precision import (
    ExecutionTarget,
    PrecisionMeasurement,
    Report,
    choose_precision,
    read_report,
    write_report,
)

REPORT = Report(
    pictures=16,
    objects=70,
    labelled=False,
    machine="this one",
    rows=(
        PrecisionMeasurement("openvino", "cpu", "fp32", map=1.0, loss=0.0, ms=10.0),
        PrecisionMeasurement("openvino", "cpu", "bf16", map=0.999, loss=0.001, ms=3.0),
        PrecisionMeasurement("openvino", "cpu", "fp16", map=1.0, loss=0.0, ms=18.0),
        PrecisionMeasurement("openvino", "cpu", "int8", map=0.98, loss=0.02, ms=2.0),
    ),
)
ALL = ("fp32", "bf16", "fp16", "int8")


def place(offered: tuple[str, ...] = ALL, machine: str = "this one") -> ExecutionTarget:
    return ExecutionTarget("openvino", "cpu", offered, machine)


def test_without_a_measurement_it_is_fp32() -> None:
    precision, why = choose_precision(None, 0.01, place())

    assert precision == "fp32"
    assert "elastic-yolo convert" in why


@pytest.mark.parametrize(
    ("budget", "offered", "expected"),
    [
        (0.01, ALL, "bf16"),
        (0.02, ALL, "int8"),
        (0.0, ALL, "fp32"),
        (0.01, ("fp32", "int8"), "fp32"),
        (0.02, ("fp32", "int8"), "int8"),
        (0.02, ("fp32",), "fp32"),
    ],
)
def test_auto_selects_the_fastest_precision_within_the_budget(
    budget: float, offered: tuple[str, ...], expected: str
) -> None:
    precision, why = choose_precision(REPORT, budget, place(offered))

    assert precision == expected
    assert why.startswith(f"{expected}, the fastest measured on this kind of machine")


@pytest.mark.parametrize(
    ("budget", "offered", "expected"),
    [(0.02, ALL, "int8"), (0.01, ALL, "bf16"), (0.01, ("fp32", "fp16", "int8"), "fp32")],
)
def test_without_local_measurements_the_usual_order_applies(
    budget: float, offered: tuple[str, ...], expected: str
) -> None:
    precision, why = choose_precision(REPORT, budget, place(offered, "another"))

    assert precision == expected
    assert "usually the fastest" in why


def test_an_unmeasured_precision_is_not_selected() -> None:
    """This machine offers bf16; the machine that converted the model did not."""
    rows = tuple(row for row in REPORT.rows if row.precision != "bf16")
    report = Report(16, 70, labelled=False, machine="another", rows=rows)

    assert choose_precision(report, 0.01, place())[0] == "fp32"


def test_a_precision_that_fails_the_golden_picture_is_not_chosen() -> None:
    rows = tuple(replace(row, golden=row.precision != "int8") for row in REPORT.rows)

    report = replace(REPORT, rows=rows)

    assert choose_precision(report, 0.02, place())[0] == "bf16"


@pytest.mark.parametrize(
    ("engine", "device", "offered", "expected"),
    [
        ("onnxruntime", "cpu", ("fp32", "int8"), "int8"),
        ("onnxruntime", "cuda", ("fp32", "fp16"), "fp32"),
        ("darknet", "cpu", ("fp32",), "fp32"),
    ],
)
def test_int8_measurements_apply_to_other_engines_bf16_do_not(
    engine: str, device: str, offered: tuple[str, ...], expected: str
) -> None:
    """bf16 and fp16 differ between engines, so that measurements of one do not apply."""
    there = ExecutionTarget(engine, device, offered, "this one")

    assert choose_precision(REPORT, 0.02, there)[0] == expected


def test_a_precision_better_than_fp32_is_within_every_budget() -> None:
    rows = (
        REPORT.rows[0],
        PrecisionMeasurement("openvino", "cpu", "int8", map=1.0, loss=-0.001, ms=2.0),
    )

    report = Report(16, 70, labelled=True, machine="this one", rows=rows)

    assert choose_precision(report, 0.0, place())[0] == "int8"


def test_a_report_survives_a_round_trip(tmp_path: Path) -> None:
    model_cache = ModelCache(tmp_path, "sha256:ab")
    write_report(model_cache, REPORT, "graph 1")

    assert read_report(model_cache, "graph 1") == REPORT
    assert read_report(model_cache, "graph 2") is None


GOOD = {"engine": "openvino", "device": "cpu", "precision": "int8", "map": 1, "loss": 0, "ms": 1}


@pytest.mark.parametrize(
    "rows",
    [
        [{"colour": "red"}],
        [{**GOOD, "loss": float("-inf")}],
        [{**GOOD, "loss": -1e308}],
        [{**GOOD, "ms": "soon"}],
        [{**GOOD, "ms": float("nan")}],
        [{**GOOD, "precision": []}],
        [{**GOOD, "precision": "fp4"}],
        None,
    ],
)
def test_an_invalid_report_is_damaged(tmp_path: Path, rows: object) -> None:
    model_cache = ModelCache(tmp_path, "sha256:ab")
    facts = {"pictures": 1, "objects": 1, "labelled": True, "machine": "this one", "rows": rows}
    model_cache.publish("accuracy", "graph 1", {}, facts)

    with pytest.raises(ArtefactDamaged, match=r"accuracy\.json: rows"):
        read_report(model_cache, "graph 1")
