"""`elastic-yolo batch`: detect in many pictures, and go on where a killed run ended."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from elastic_yolo.batch.detecting import Detecting, LocalDetecting
from elastic_yolo.batch.errors import BatchError, TryAgain
from elastic_yolo.batch.formats import (
    DRAWN,
    FORMATS,
    CocoIds,
    coco_ids,
    encoder,
    require_different_targets,
)
from elastic_yolo.batch.job import Job, Manifest, Share, describe_job, read_checkpoint
from elastic_yolo.batch.pictures import Pictures, open_pictures
from elastic_yolo.batch.ray_detecting import RayDetecting, Step
from elastic_yolo.batch.run import Batch, Limits
from elastic_yolo.batch.storage import is_remote, open_output
from elastic_yolo.batch.summary import describe
from elastic_yolo.cli.errors import CommandFailed, describe_error
from elastic_yolo.cli.options import (
    MODEL_HELP,
    absolute_address,
    add_engine_options,
    add_resize_option,
    chosen_model,
    count,
    engine_options,
    existing_file,
    fraction,
    model_name,
)
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import build_engine
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.progress import RateLine, print_status

# sysexits.h: EX_TEMPFAIL.
TRY_AGAIN = 75
_RAY = "ray"


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "batch",
        description="Detect objects in many pictures at the full speed of this machine, and write "
        "the results in files. A run that was stopped or killed goes on if the same command runs "
        "again.",
        epilog="Exit status: 0 done (bad pictures are listed in errors.jsonl), 1 failed, 2 wrong "
        f"usage, {TRY_AGAIN} stopped, or failed in a way that may be over: run it again to go on.",
    )
    parser.add_argument(
        "--input",
        required=True,
        metavar="ADDRESS",
        help="folder, glob in quotes, list file (.txt: a path or URL a line) or archive (.tar, "
        ".tar.gz, .zip); local, or a URL that fsspec opens, such as s3://bucket/folder",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="ADDRESS",
        help="folder for the results, local or a URL; one job has one folder",
    )
    parser.add_argument("--model", type=model_name, required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--format",
        dest="formats",
        action="append",
        choices=FORMATS,
        help="jsonl: a JSON object a line; coco: COCO's results; parquet: Apache Parquet; drawn: "
        "pictures with boxes; may be repeated (default: jsonl)",
    )
    parser.add_argument(
        "--annotations",
        type=existing_file,
        metavar="FILE",
        help="COCO ground truth, from which --format coco takes the ids of pictures and categories",
    )
    _add_job_options(parser)
    _add_detection_options(parser)
    parser.add_argument("--json", action="store_true", help="print the manifest as JSON")
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--completions",
        type=count,
        default=1,
        metavar="N",
        help="number of processes that share the input, as in an Indexed Job of Kubernetes "
        "(default: 1)",
    )
    parser.add_argument(
        "--index",
        type=_index,
        metavar="I",
        help="which of these processes this is, from 0: $(JOB_COMPLETION_INDEX) in Kubernetes; it "
        "writes to OUTPUT/index-I-of-N",
    )
    parser.add_argument(
        "--shard-size",
        type=count,
        default=1000,
        metavar="N",
        help="pictures for each file of results (default: 1000, or what is done in a minute)",
    )
    parser.add_argument(
        "--max-errors",
        type=_index,
        metavar="N",
        help="fail if more pictures than this are bad (default: any number may be)",
    )
    parser.add_argument(
        "--workers",
        type=count,
        default=1,
        metavar="N",
        help="with --engine ray: number of actors, each with --threads CPUs (default: 1)",
    )


def _add_detection_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threshold",
        type=fraction,
        help="keep detections whose score exceeds this, 0 to 1 (default: the model's)",
    )
    parser.add_argument(
        "--iou",
        type=fraction,
        help="overlap above which NMS removes a box, 0 to 1 (default: the model's)",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="decode large JPEGs at full size, as Darknet and OpenCV do; do not round a letterbox",
    )
    add_resize_option(parser)
    add_engine_options(
        parser, further=(_RAY,), hint="; ray: Ray Data runs it in actors, with the engine of auto"
    )


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run the job, or what is left of it, and return the exit status."""
    _check(parser, parsed)
    try:
        manifest = _run(parsed)
    except BatchError as error:
        print_status(f"elastic-yolo: {error}")
        return TRY_AGAIN if isinstance(error, TryAgain) else 1
    except ValueError as error:
        raise CommandFailed(describe_error(error)) from error
    if parsed.json:
        print(manifest.model_dump_json(indent=2, exclude={"checkpoint"}))
    else:
        print(describe(manifest, _share(parsed).in_output(parsed.output)))
    return 0


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    parsed.formats = tuple(dict.fromkeys(parsed.formats or ["jsonl"]))
    if parsed.completions > 1 and parsed.index is None:
        parser.error("--completions: needs --index, which of them this is")
    if parsed.index is not None and parsed.index >= parsed.completions:
        parser.error(f"--index {parsed.index}: expected less than --completions")
    if parsed.annotations and "coco" not in parsed.formats:
        parser.error("--annotations: only --format coco uses it")
    if parsed.workers > 1 and parsed.engine != _RAY:
        parser.error("--workers: only with --engine ray")
    if is_remote(parsed.input) or is_remote(parsed.output):
        return
    source, target = Path(parsed.input).resolve(), Path(parsed.output).resolve()
    if target.is_file():
        parser.error(f"--output: not a folder: {parsed.output}")
    if DRAWN in parsed.formats and target.is_relative_to(source):
        parser.error("--output: in the input folder, pictures with boxes would become its input")


def _run(parsed: argparse.Namespace) -> Manifest:
    model = chosen_model(parsed.model, parsed.resize)
    pictures = open_pictures(parsed.input)
    parameters = Parameters(parsed.threshold, parsed.iou, parsed.exact)
    share = _share(parsed)
    output = open_output(share.in_output(parsed.output))
    job = describe_job(model, parameters, parsed.formats, pictures, share)
    ids = _coco_ids(parsed, pictures, model)
    encoders = {form: encoder(form, ids) for form in parsed.formats if form != DRAWN}
    if DRAWN in parsed.formats:
        require_different_targets(pictures.names)
    limits = Limits(parsed.shard_size, parsed.max_errors)
    with output.locked(), _stopped_by_signals() as stop, ExitStack() as stack:
        checkpoint = read_checkpoint(output, job)
        batch = Batch(parsed.input, pictures, output, encoders, checkpoint, limits)
        if checkpoint.finished:
            print_status("this job is finished already")
            return batch.finish()
        before = f", {checkpoint.done:,} of them done before" if checkpoint.done else ""
        print_status(f"{len(job.numbers()):,} pictures in {parsed.input}{before}")
        return batch.run(_detecting(parsed, model, job, pictures, stack), RateLine(), stop)


def _detecting(
    parsed: argparse.Namespace, model: Model, job: Job, pictures: Pictures, stack: ExitStack
) -> Detecting:
    """Return what detects, with the model loaded; `stack` ends it."""
    parameters = Parameters(job.threshold, job.iou, job.exact)
    if parsed.engine == _RAY:
        options = engine_options(argparse.Namespace(**{**vars(parsed), "engine": "auto"}))
        step = Step(
            absolute_address(parsed.input),
            job.listing,
            model.folder.resolve(),
            model.resize,
            options,
            parameters,
        )
        return RayDetecting(step, parsed.workers)
    engine, choice = build_engine(model, engine_options(parsed))
    print_status(f"{model.name} {model.version}, {choice.why}")
    detector = stack.enter_context(ParallelDetector(Detector(model, engine), parameters))
    return LocalDetecting(detector, pictures)


def _share(parsed: argparse.Namespace) -> Share:
    return Share(parsed.index or 0, parsed.completions)


def _coco_ids(parsed: argparse.Namespace, pictures: Pictures, model: Model) -> CocoIds:
    if "coco" not in parsed.formats:
        return CocoIds()
    if parsed.annotations is None:
        return coco_ids(pictures.names, model.labels)
    try:
        annotations = json.loads(parsed.annotations.read_bytes())
        return coco_ids(pictures.names, model.labels, annotations)
    except ValueError as error:
        raise ValueError(f"{parsed.annotations}: {error}") from error


@contextmanager
def _stopped_by_signals() -> Iterator[Event]:
    """Set an event on SIGTERM and Ctrl-C; a second one ends the process at once."""
    stop = Event()

    def handle(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {one: signal.signal(one, handle) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("expected an integer from 0")
    return int(text)
