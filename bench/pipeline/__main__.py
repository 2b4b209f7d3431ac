"""Measure the whole pipeline beside a bare loop and beside its peers: `make bench-pipeline`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.__main__ import FOLDER, THREADS
from bench.models import PICTURES, has_darknet, random_model
from bench.pipeline import report
from bench.pipeline.course import Course, compare_pipeline, ready
from bench.pipeline.picture import make_picture
from bench.pipeline.talk import ProcessFailed
from cli.progress import ProgressLine, say, say_left_out
from detector.conversion import make_int8
from detector.machine import describe_cpu
from detector.model import read_model
from detector.samples import SampleFolder
from tools.stack import DEMO_MODEL, StackError

_SIZE = 416


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every table and write the JSON file."""
    options = _parse(arguments)
    if options.models != ["demo"] and not has_darknet():
        say('Debian\'s darknet is missing: run "make oracle", or measure --models demo')
        return 1
    print(f"{describe_cpu()}, {THREADS} cores, {options.precision}", flush=True)
    results: dict[str, Any] = {"cpu": describe_cpu(), "threads": THREADS}
    try:
        for name in options.models:
            results[name] = _measure(name, options)
            text = json.dumps(results, indent=2)
            options.output.write_text(text + "\n", encoding="utf-8")
    except (ProcessFailed, StackError) as error:
        say(str(error))
        return 1
    print(f"\nall of it: {options.output}")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pipeline", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of a turn (%(default)s)")
    parser.add_argument(
        "--models", type=_words, default="yolov3-tiny,yolov3", help="or demo (%(default)s)"
    )
    parser.add_argument("--precision", default="int8", help="(%(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("bench-pipeline.json"), help="(%(default)s)"
    )
    return parser.parse_args(arguments)


def _words(text: str) -> list[str]:
    return text.split(",")


def _measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    course = Course(
        model=_model(name, options.precision),
        cache=FOLDER,
        precision=options.precision,
        picture=make_picture(FOLDER),
        threads=THREADS,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    say(f"{name}:")
    with ready(course) as up:
        result = compare_pipeline(course, up)
        print(f"\n{name}, {options.precision}\n{report.latency_table([result])}")
        print(f"\n{report.cpu_table([result])}")
        print(f"\n{report.memory_table([result])}", flush=True)
        return {"bare": up.bare, "pipeline": asdict(result)}


def _model(name: str, precision: str) -> Path:
    folder = DEMO_MODEL if name == "demo" else random_model(name, _SIZE, FOLDER)
    if precision == "int8":
        model = read_model(folder)
        samples = SampleFolder(PICTURES, model.network, say_left_out)
        make_int8(model, samples, FOLDER, ProgressLine())
    return folder


if __name__ == "__main__":
    sys.exit(main())
