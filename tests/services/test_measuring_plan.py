"""When precisions are measured in the background, and in which order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.precision import ExecutionTarget, PrecisionMeasurement, Report
from elastic_yolo.lab.processes.stack import ROOT
from services.inference.measuring.plan import (
    FLOAT_PICTURES,
    INT8_PICTURES,
    Step,
    may_measure,
    next_step,
)
from tests.support.unshare import find_unshare

ALL = ("fp32", "bf16", "int8")
FLOATS = Step(("fp32", "bf16"), FLOAT_PICTURES)
WITH_INT8 = Step(ALL, INT8_PICTURES)


def report(*precisions: str, engine: str = "openvino") -> Report:
    rows = [PrecisionMeasurement(engine, "cpu", name, 1.0, 0.0, 5.0) for name in precisions]
    return Report(40, 60, labelled=False, machine="this", rows=tuple(rows))


def target(offered: tuple[str, ...]) -> ExecutionTarget:
    return ExecutionTarget("openvino", "cpu", offered, "this")


@pytest.mark.parametrize(
    ("measured", "wanted", "failed", "expected"),
    [
        (None, ALL, (), FLOATS),
        (("fp32", "bf16"), ALL, (), WITH_INT8),
        (ALL, ALL, (), None),
        # A CPU without bf16: nothing to gain before int8.
        (None, ("fp32", "int8"), (), Step(("fp32", "int8"), INT8_PICTURES)),
        # An image without the quantiser.
        (("fp32", "bf16"), ("fp32", "bf16"), (), None),
        # A report from a CPU without bf16: its int8 is not given up meanwhile.
        (("fp32", "int8"), ALL, (), WITH_INT8),
        (None, ALL, (FLOATS,), WITH_INT8),
        (None, ALL, (FLOATS, WITH_INT8), None),
        # A darknet engine, or a CPU with neither.
        (None, ("fp32",), (), None),
        # A GPU.
        (None, ("fp32", "fp16"), (), Step(("fp32", "fp16"), FLOAT_PICTURES)),
    ],
)
def test_what_the_report_lacks_is_measured_floats_first(
    measured: tuple[str, ...] | None,
    wanted: tuple[str, ...],
    failed: tuple[Step, ...],
    expected: Step | None,
) -> None:
    found = None if measured is None else report(*measured)

    assert next_step(found, target(wanted), wanted, set(failed)) == expected


def test_measurements_of_another_engine_do_not_count() -> None:
    other = report(*ALL, engine="onnxruntime")

    assert next_step(other, target(ALL), ALL, set()) == FLOATS


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "int8"])
def test_a_stated_precision_forbids_measuring(tmp_path: Path, precision: str) -> None:
    auto = EngineOptions(threads=1, cache=tmp_path / "new")
    stated = EngineOptions(threads=1, precision=precision, cache=tmp_path / "new")

    assert may_measure(auto)
    assert not may_measure(stated)


def test_without_a_cache_nothing_is_measured() -> None:
    assert not may_measure(EngineOptions(threads=1))


def test_nothing_is_measured_into_a_read_only_cache(tmp_path: Path) -> None:
    """As in a pod, whose cache is a read-only mount: permissions do not stop root."""
    program = (
        "import sys; from pathlib import Path;"
        "from elastic_yolo.detector.engines.choose import EngineOptions;"
        "from services.inference.measuring.plan import may_measure;"
        "print(*(may_measure(EngineOptions(1, cache=Path(sys.argv[1], name)))"
        " for name in ('', 'new')))"
    )
    mounts = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && '
    command = [
        *find_unshare("a read-only cache is NOT tested"),
        "sh", "-c", f'{mounts} exec "$2" -c "$3" "$1"',
        "sh", tmp_path, sys.executable, program,
    ]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["False", "False"]
