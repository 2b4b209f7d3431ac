"""`elastic-yolo convert`: make a model faster for the services, or take it to other runtimes."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from elastic_yolo.cli.options import add_threads_option, folder, new_file
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import EngineOptions, offered_precisions
from elastic_yolo.detector.machine import describe_cpu
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.precision import ExecutionTarget, Report, choose_precision
from elastic_yolo.detector.samples import SampleFolder
from elastic_yolo.durable import write_atomic
from elastic_yolo.progress import ProgressLine, print_skipped, print_status

_DESCRIPTION = """\
With --cache and --calibration: quantise the model to 8-bit integers, measure what every precision
that this machine has costs in accuracy and gains in speed, and keep all of it where services with
the same CACHE_DIR find it; PRECISION=auto then takes the fastest within the model's accuracy
budget. Pictures with Darknet's label files (.txt beside them) are measured against these labels,
others against what fp32 finds in them.

With --output: write the network as ONNX (.onnx) or in OpenVINO's form (.xml and .bin), for use
elsewhere. Its input is uint8, (n, height, width, 3), RGB; its outputs are the raw heads.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=folder, metavar="DIR", help="model folder")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="the CACHE_DIR of services")
    parser.add_argument(
        "--calibration", type=folder, metavar="DIR", help="pictures like those to come"
    )
    parser.add_argument("--output", type=_output, metavar="FILE", help=".onnx or .xml to write")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        help="of --output (fp32); int8 needs --cache with a converted model",
    )
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    add_threads_option(parser)
    parser.set_defaults(run=run, refuse=parser.error)


def run(parsed: argparse.Namespace) -> int:
    """Convert and say what was written."""
    if parsed.calibration and not parsed.cache:
        parsed.refuse("--calibration needs --cache: that is where the result goes")
    if not parsed.output and not parsed.calibration:
        parsed.refuse("nothing to do: give --cache and --calibration, or --output")
    if parsed.precision and not parsed.output:
        parsed.refuse("--precision is that of --output; --calibration measures all there are")
    if parsed.precision == "int8" and not parsed.cache:
        parsed.refuse("--precision int8 needs --cache with a converted model")
    model = read_model(parsed.model)
    answer: dict[str, Any] = {}
    if parsed.calibration:
        report = _prepare_cache(parsed, model)
        answer = asdict(report)
        if not parsed.json:
            print(describe(report, model))
    if parsed.output:
        _write(model, parsed.output, parsed.precision or "fp32", parsed.cache)
        answer["output"] = str(parsed.output)
        if not parsed.json:
            print(parsed.output)
    if parsed.json:
        print(json.dumps(answer, indent=2))
    return 0


def describe(report: Report, model: Model) -> str:
    """Return a report as a table, with what PRECISION=auto makes of it here."""
    against = "their labels" if report.labelled else "what fp32 finds"
    golden = {True: "as expected", False: "FAILED", None: "-"}
    what = f"{report.pictures} pictures against {against}, {report.objects} objects"
    lines = [
        f"mAP@0.5 on {what}; {report.machine}",
        f"{'engine':<12} {'precision':<9} {'mAP':>7} {'loss':>8} {'ms':>8}  golden picture",
        *(
            f"{row.engine:<12} {row.precision:<9} {row.map:7.4f} {row.loss:8.4f} {row.ms:8.2f}  "
            f"{golden[row.golden]}"
            for row in report.rows
        ),
    ]
    first = report.rows[0]
    offered = offered_precisions(first.engine, first.device)
    place = ExecutionTarget(first.engine, first.device, offered, describe_cpu())
    _, why = choose_precision(report, model.accuracy_budget, place)
    return "\n".join([*lines, f"PRECISION=auto here: {why}"])


def _prepare_cache(parsed: argparse.Namespace, model: Model) -> Report:
    samples = SampleFolder(parsed.calibration, model.network, print_skipped)
    if 0 < samples.unlabelled < len(samples):
        print_status(
            f"{samples.unlabelled} of {len(samples)} pictures have no labels: none are used"
        )
    progress = ProgressLine()
    make_int8(model, samples, parsed.cache, progress)
    options = EngineOptions(threads=parsed.threads, cache=parsed.cache)
    return measure_precisions(model, samples, options, progress)


def _write(model: Model, output: Path, precision: str, cache: Path | None) -> None:
    openvino, half = output.suffix == ".xml", precision == "fp16"
    if precision == "int8":
        content = load.find_int8(model, cache).files["model.onnx"].read_bytes()
    else:
        # OpenVINO's form keeps float16 constants for a graph that is float32 otherwise.
        content = load.make_graph(model, half=half and not openvino).SerializeToString()
    if not openvino:
        write_atomic(output, content)
        return
    import openvino as ov  # noqa: PLC0415  # never before detector, which keeps it silent

    network = ov.Core().read_model(content)
    files = load.openvino_files(network, output.parent, half=half)
    # The .xml last: who finds it finds the constants beside it.
    for suffix in (".bin", ".xml"):
        write_atomic(output.with_suffix(suffix), files[f"model{suffix}"])


def _output(text: str) -> Path:
    if not text.endswith((".onnx", ".xml")):
        raise argparse.ArgumentTypeError("expected a name that ends in .onnx or .xml")
    return new_file(text)
