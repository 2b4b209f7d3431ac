"""`elastic-yolo bench`: engines, precisions and batch sizes side by side, in one run."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_threads_option,
    chosen_model,
    count,
    model_name,
    new_file,
    positive,
)
from elastic_yolo.detector.engines.choose import ENGINES
from elastic_yolo.detector.precision import PRECISIONS
from elastic_yolo.lab.engines.report import engine_configs, headline, table
from elastic_yolo.lab.engines.rounds import compete
from elastic_yolo.progress import print_status


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        description="Measure engines, precisions and batch sizes of a model on this machine. "
        "Each combination runs in its own process, and the processes take turns. The report has "
        "the medians of all rounds, compared with Darknet, with OpenCV's Darknet importer, and "
        "with a plain matrix product on this machine. With the default options, models/demo takes "
        "about two minutes.",
    )
    parser.add_argument("model", type=model_name, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--engines", type=_list_of(*ENGINES, "opencv"), default=[*ENGINES, "opencv"],
        help="engines to measure, separated by commas (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--precisions",
        type=_list_of(*PRECISIONS),
        default=["fp32", "bf16", "int8"],
        help="precisions to measure, separated by commas, of fp32, bf16, fp16 and int8 "
        "(default: all but fp16); int8 needs --cache",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder that `elastic-yolo convert` wrote to"
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="device to measure; cuda measures the GPU in addition to the CPU (default: cpu)",
    )
    parser.add_argument(
        "--batch",
        type=_numbers,
        default=[1],
        help="batch sizes to measure, separated by commas (default: 1)",
    )
    parser.add_argument(
        "--rounds", type=count, default=7, help="number of rounds (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        default=2.0,
        help="duration of each process's turn in a round (default: %(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--output", type=new_file, metavar="FILE", help="write the rows as JSON")
    add_threads_option(parser)
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Measure and print; the exit status is 1 if nothing was measured."""
    model = chosen_model(parsed.model)
    rows = compete(
        engine_configs(parsed.engines, parsed.precisions, parsed.batch, parsed.device),
        model.folder,
        threads=parsed.threads,
        cache=parsed.cache,
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        progress=print_status,
    )
    measured = [row for row in rows if row.engine != "gemm"]
    encoded = json.dumps([asdict(row) for row in measured], indent=2)
    if parsed.json:
        print(encoded)
    else:
        print(headline(model, parsed.threads))
        print(table(rows))
    if parsed.output:
        parsed.output.write_text(encoded + "\n", encoding="utf-8")
    return 0 if measured else 1


def _list_of(*allowed: str) -> Any:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if wrong := [word for word in chosen if word not in allowed]:
            raise argparse.ArgumentTypeError(f"{wrong[0]!r}: expected {', '.join(allowed)}")
        return chosen

    return parse


def _numbers(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]
