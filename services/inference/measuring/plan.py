"""Whether precisions are measured in the background, and what is measured next."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.errors import SampleError
from elastic_yolo.detector.precision import ExecutionTarget, Report
from elastic_yolo.detector.samples import list_pictures
from services.common.observe.cpu_quota import cpu_quota

# bf16 and fp16 round every value alike: a few pictures show whether the engine computes them right.
# The loss of int8 depends on the pictures: with fewer, one object changes the mAP by more than the
# usual budget.
FLOAT_PICTURES = 4
INT8_PICTURES = 50


@dataclass(frozen=True)
class Step:
    """Precisions that are measured together, and the number of pictures that this needs."""

    precisions: tuple[str, ...]
    required: int


def next_step(
    report: Report | None,
    target: ExecutionTarget,
    wanted: Sequence[str],
    failed: set[Step],
) -> Step | None:
    """Return what to measure next, or None if nothing is left.

    `wanted` are the precisions to measure. A report that lacks one of them is from a step, or from
    a machine, without it. A step replaces the whole report, so it never leaves out int8 if the
    report has it.
    """
    rows = () if report is None else report.rows
    measured = {row.precision for row in rows if target.matches(row)}
    missing = set(wanted) - measured
    steps = []
    if missing - {"fp32", "int8"} and "int8" not in measured:
        steps.append(Step(tuple(name for name in wanted if name != "int8"), FLOAT_PICTURES))
    if "int8" in wanted and missing - {"fp32"}:
        steps.append(Step(tuple(wanted), INT8_PICTURES))
    return next((step for step in steps if step not in failed), None)


def is_writable(cache: Path) -> bool:
    """Return whether this process can write to a cache folder, which may not exist yet."""
    existing = next((path for path in (cache, *cache.absolute().parents) if path.exists()), cache)
    return os.access(existing, os.W_OK | os.X_OK)


def may_measure(options: EngineOptions) -> bool:
    """Return whether precisions are measured: with PRECISION=auto and a writable cache.

    Pods that share a read-only cache leave the measurement to the job that fills it.
    """
    cache = options.cache_folder
    return options.precision == "auto" and cache is not None and is_writable(cache)


def measuring_threads(threads: int) -> int:
    """Return the threads of the measuring process, where the service's engine has `threads`.

    A CPU quota counts all processes of the container, whatever their priority: half of it stays for
    requests.
    """
    limited = cpu_quota() < len(os.sched_getaffinity(0))
    return max(1, threads // 2) if limited else threads


def count_pictures(folder: Path) -> int:
    """Return the number of files in a folder that are called as pictures.

    Only the measuring process reads them, and knows how many of them are usable.
    """
    try:
        return len(list_pictures(folder))
    except (SampleError, OSError):
        return 0
