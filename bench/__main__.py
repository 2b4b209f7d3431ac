"""Measure engines and precisions on the embedded model and on yolov3: `make bench`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.models import (
    FOLDER,
    THREADS,
    has_darknet,
    labelled_pictures,
    quantise,
    random_model,
)
from bench.startup import measure_start
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines.choose import ENGINES, EngineOptions
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.lab.engines.precisions import precision_table
from elastic_yolo.lab.engines.report import engine_configs, headline, table
from elastic_yolo.lab.engines.rounds import compete
from elastic_yolo.lab.processes.stack import DEMO_MODEL
from elastic_yolo.progress import ProgressLine, print_skipped, print_status


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every table and write bench.json."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of a round (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="(%(default)s)")
    parsed = parser.parse_args(arguments)
    results = {"embedded": _embedded(parsed.rounds, parsed.seconds)}
    if has_darknet():
        results["yolov3"] = _yolov3(parsed.rounds, parsed.seconds)
        results["start"] = _starts(parsed.rounds)
    else:
        print_status('yolov3 and start-up are omitted: darknet is missing: run "make oracle"')
    parsed.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(f"\nall results: {parsed.output}")
    return 0


def _embedded(rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Measure the embedded model: speed, and accuracy on the client's pictures."""
    model = read_model(DEMO_MODEL)
    samples = SampleFolder(labelled_pictures(model.labels, FOLDER), model, print_skipped)
    make_int8(model, samples, FOLDER, ProgressLine())
    options = EngineOptions(threads=THREADS, device="cpu", cache=FOLDER)
    report = measure_precisions(model, samples, options, ProgressLine())
    rows = _compete(model, rounds, seconds)
    print(precision_table(report, model))
    return rows


def _yolov3(rounds: int, seconds: float) -> list[dict[str, Any]]:
    model = read_model(random_model("yolov3", 416, FOLDER))
    quantise(model)
    return _compete(model, rounds, seconds)


def _starts(rounds: int) -> list[dict[str, Any]]:
    """Measure the start-up time of the inference service."""
    folder = random_model("yolov3-tiny", 416, FOLDER)
    quantise(read_model(folder))
    starts = [
        measure_start(folder, precision, FOLDER, rounds) for precision in ("fp32", "bf16", "int8")
    ]
    print("\nyolov3-tiny, 416x416: from process start to ready with a warm cache, medians in ms")
    print("\n".join(start.line() for start in starts))
    return [asdict(start) for start in starts]


def _compete(model: Model, rounds: int, seconds: float) -> list[dict[str, Any]]:
    rows = compete(
        engine_configs([*ENGINES, "opencv"], ["fp32", "bf16", "int8"], [1]),
        model.folder,
        threads=THREADS,
        cache=FOLDER,
        rounds=rounds,
        seconds=seconds,
        progress=print_status,
    )
    print(f"\n{headline(model, THREADS)}\n{table(rows)}", flush=True)
    return [asdict(row) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
