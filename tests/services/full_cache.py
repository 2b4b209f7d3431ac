"""Measure into a cache on a disk that becomes full, in a process that may mount one.

`python -m tests.services.full_cache FOLDER` prints the two results, and what the report has then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.precision import read_report
from elastic_yolo.lab.processes.stack import DEMO_MODEL
from services.inference.measuring.process import MeasurementFailed, MeasuringProcess
from services.inference.measuring.task import Task
from tests.support.background import demo_images

# Less than the int8 version needs, and enough for a report.
_ROOM = 64 * 1024


def main() -> None:
    """Measure fp32 with room, then int8 without."""
    cache = Path(sys.argv[1], "cache")
    cache.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", cache], check=True)  # noqa: S607
    _measure(cache, ("fp32",))
    found = os.statvfs(cache)
    size = (found.f_blocks - found.f_bfree) * found.f_frsize + _ROOM
    subprocess.run(["mount", "-o", f"remount,size={size}", cache], check=True)  # noqa: S607
    _measure(cache, ("fp32", "int8"))
    report = read_report(ModelCache(cache, read_model(DEMO_MODEL).cache_key), load.INT8_RECIPE)
    print(*(row.precision for row in (report.rows if report else ())))


def _measure(cache: Path, precisions: tuple[str, ...]) -> None:
    images = demo_images()[:4]
    task = Task(
        parent=os.getpid(),
        model=DEMO_MODEL,
        cache_key=read_model(DEMO_MODEL).cache_key,
        cache=cache,
        engine="openvino",
        device="cpu",
        threads=2,
        precisions=precisions,
        folder=None,
        required=4,
        received=len(images),
    )
    try:
        MeasuringProcess().run(task, images)
    except MeasurementFailed as error:
        print(error)
    else:
        print("measured")


if __name__ == "__main__":
    main()
