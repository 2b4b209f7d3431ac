"""`elastic-yolo convert`: quantise a model for the services, or export it."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_resize_option,
    add_threads_option,
    chosen_model,
    folder,
    model_name,
    new_file,
)
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.precision import Report
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.durable import write_atomic
from elastic_yolo.lab.engines.precisions import precision_table
from elastic_yolo.progress import ProgressLine, print_skipped, print_status

_DESCRIPTION = """\
With --cache and --calibration: quantise the model to int8, measure accuracy and speed of every
precision that this machine supports, and store the results in the cache. Services with the same
CACHE_DIR and PRECISION=auto then use the fastest precision within the model's accuracy budget.
Accuracy is measured against Darknet's label files (.txt beside the pictures) if all pictures have
one, otherwise against the detections of fp32.

With --output: export the network as ONNX (.onnx) or OpenVINO IR (.xml and .bin). Its input is
uint8, (n, height, width, 3), RGB; its outputs are the raw heads.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=model_name, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="folder for the results, the CACHE_DIR of the services",
    )
    parser.add_argument(
        "--calibration", type=folder, metavar="DIR", help="pictures similar to those in production"
    )
    parser.add_argument(
        "--output", type=_output, metavar="FILE", help="file to write, .onnx or .xml"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="precision of --output (default: fp32); int8 needs --cache with a converted model",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    add_resize_option(parser)
    add_threads_option(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Convert and print what was written."""
    if parsed.calibration and not parsed.cache:
        parsed.refuse("--calibration needs --cache, where the result is stored")
    if not parsed.output and not parsed.calibration:
        parsed.refuse("nothing to do: pass --cache and --calibration, or --output")
    if parsed.precision and not parsed.output:
        parsed.refuse("--precision needs --output; --calibration measures all precisions")
    if parsed.precision == "int8" and not parsed.cache:
        parsed.refuse("--precision int8 needs --cache with a converted model")
    model = chosen_model(parsed.model, parsed.resize)
    report_data: dict[str, Any] = {}
    if parsed.calibration:
        report = _prepare_cache(parsed, model)
        report_data = asdict(report)
        if not parsed.json:
            print(precision_table(report, model))
    if parsed.output:
        _write(model, parsed.output, parsed.precision or "fp32", parsed.cache)
        report_data["output"] = str(parsed.output)
        if not parsed.json:
            print(parsed.output)
    if parsed.json:
        print(json.dumps(report_data, indent=2))
    return 0


def _prepare_cache(parsed: argparse.Namespace, model: Model) -> Report:
    samples = SampleFolder(parsed.calibration, model, print_skipped)
    if 0 < samples.unlabelled < len(samples):
        print_status(
            f"{samples.unlabelled} of {len(samples)} pictures have no labels: labels are ignored"
        )
    progress = ProgressLine()
    make_int8(model, samples, parsed.cache, progress)
    options = EngineOptions(threads=parsed.threads, cache=parsed.cache)
    return measure_precisions(model, samples, options, progress)


def _write(model: Model, output: Path, precision: str, cache: Path | None) -> None:
    openvino, half = output.suffix == ".xml", precision == "fp16"
    if precision == "int8":
        int8 = load.find_int8(model, cache)
        content = (
            load.int8_graph_for_openvino(int8).SerializeToString()
            if openvino
            else int8.files["model.onnx"].read_bytes()
        )
    else:
        # OpenVINO IR stores float16 constants for a graph that is float32 otherwise.
        content = load.make_graph(model, half=half and not openvino).SerializeToString()
    if not openvino:
        write_atomic(output, content)
        return
    import openvino as ov  # noqa: PLC0415  # after elastic_yolo.detector, which turns its telemetry off

    network = ov.Core().read_model(content)
    files = load.openvino_files(network, output.parent, half=half)
    # The .xml last: once it exists, its constants exist.
    for suffix in (".bin", ".xml"):
        write_atomic(output.with_suffix(suffix), files[f"model{suffix}"])


def _output(text: str) -> Path:
    if not text.endswith((".onnx", ".xml")):
        raise argparse.ArgumentTypeError("expected a file name that ends in .onnx or .xml")
    return new_file(text)
