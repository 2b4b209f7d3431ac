"""Which precision PRECISION=auto takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from elastic_yolo.detector.artefacts import Shelf
from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.detector.precision import (
    Measured,
    Place,
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
        Measured("openvino", "cpu", "fp32", map=1.0, loss=0.0, ms=10.0),
        Measured("openvino", "cpu", "bf16", map=0.999, loss=0.001, ms=3.0),
        Measured("openvino", "cpu", "fp16", map=1.0, loss=0.0, ms=18.0),
        Measured("openvino", "cpu", "int8", map=0.98, loss=0.02, ms=2.0),
    ),
)
ALL = ("fp32", "bf16", "fp16", "int8")


def place(offered: tuple[str, ...] = ALL, machine: str = "this one") -> Place:
    return Place("openvino", "cpu", offered, machine)


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
def test_it_is_the_fastest_that_is_offered_and_within_the_budget(
    budget: float, offered: tuple[str, ...], expected: str
) -> None:
    precision, why = choose_precision(REPORT, budget, place(offered))

    assert precision == expected
    assert why.startswith(f"{expected}, the fastest as measured on this kind of machine")


@pytest.mark.parametrize(
    ("budget", "offered", "expected"),
    [(0.02, ALL, "int8"), (0.01, ALL, "bf16"), (0.01, ("fp32", "fp16", "int8"), "fp32")],
)
def test_on_another_machine_the_usual_order_counts_and_fp16_is_not_of_it(
    budget: float, offered: tuple[str, ...], expected: str
) -> None:
    precision, why = choose_precision(REPORT, budget, place(offered, "another"))

    assert precision == expected
    assert "usually the fastest" in why


def test_what_was_never_measured_is_not_chosen() -> None:
    """bf16 was not there where it was converted; here it is."""
    rows = tuple(row for row in REPORT.rows if row.precision != "bf16")
    report = Report(16, 70, labelled=False, machine="another", rows=rows)

    assert choose_precision(report, 0.01, place())[0] == "fp32"


def test_what_fails_the_golden_picture_is_not_chosen() -> None:
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
def test_another_engine_shares_the_integers_but_not_the_shorter_floats(
    engine: str, device: str, offered: tuple[str, ...], expected: str
) -> None:
    """Each makes those in a way of its own, and nobody measured that."""
    there = Place(engine, device, offered, "this one")

    assert choose_precision(REPORT, 0.02, there)[0] == expected


def test_a_precision_better_than_fp32_is_within_every_budget() -> None:
    rows = (REPORT.rows[0], Measured("openvino", "cpu", "int8", map=1.0, loss=-0.001, ms=2.0))

    report = Report(16, 70, labelled=True, machine="this one", rows=rows)

    assert choose_precision(report, 0.0, place())[0] == "int8"


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, "sha256:ab")
    write_report(shelf, REPORT, "graph 1")

    assert read_report(shelf, "graph 1") == REPORT
    assert read_report(shelf, "graph 2") is None


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
def test_a_file_that_is_no_report_is_damage(tmp_path: Path, rows: object) -> None:
    shelf = Shelf(tmp_path, "sha256:ab")
    facts = {"pictures": 1, "objects": 1, "labelled": True, "machine": "this one", "rows": rows}
    shelf.publish("accuracy", "graph 1", {}, facts)

    with pytest.raises(ArtefactDamaged, match=r"accuracy\.json: rows"):
        read_report(shelf, "graph 1")
