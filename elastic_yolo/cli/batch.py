"""`elastic-yolo batch`: detect in many pictures, and go on where a killed run ended."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from contextlib import ExitStack, closing, redirect_stdout
from pathlib import Path
from typing import Any

from elastic_yolo.batch.detecting import Detecting, LocalDetecting
from elastic_yolo.batch.errors import BadInput, BatchError, Interrupted, TryAgain
from elastic_yolo.batch.formats import (
    DRAWN,
    FORMATS,
    CocoIds,
    Encode,
    coco_ids,
    encoder,
    require_drawable_names,
)
from elastic_yolo.batch.job import (
    Job,
    Manifest,
    Share,
    describe_job,
    read_checkpoint,
    require_same_input,
)
from elastic_yolo.batch.listing import before_wildcard
from elastic_yolo.batch.output import open_output
from elastic_yolo.batch.pictures import KeptPictures, Pictures, open_pictures
from elastic_yolo.batch.ray_detecting import RayDetecting, Step
from elastic_yolo.batch.run import Batch, Limits
from elastic_yolo.batch.storage import is_remote
from elastic_yolo.batch.summary import describe
from elastic_yolo.cli.errors import TRY_AGAIN, CommandFailed, describe_error
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_exact_option,
    add_resize_option,
    add_threshold_options,
    build_detector,
    chosen_model,
    count,
    engine_options,
    existing_file,
    model_name,
)
from elastic_yolo.cli.signals import StopSignals
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.printable import escape_unprintable
from elastic_yolo.progress import RateLine, counted, print_status
from elastic_yolo.store.faults import is_temporary

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
        type=_address,
        nargs="+",
        required=True,
        metavar="ADDRESS",
        help="folder, glob in quotes, list file (.txt: a path or URL a line) or archive (.tar, "
        ".tar.gz, .zip); local, or a URL that fsspec opens, such as s3://bucket/folder",
    )
    parser.add_argument(
        "--output",
        type=_address,
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
    add_threshold_options(parser)
    add_exact_option(parser)
    add_resize_option(parser)
    add_engine_options(
        parser,
        further=(_RAY,),
        hint="; ray: actors of Ray Data run it, each with the engine that auto chooses",
    )


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run the job, or what is left of it, and return the exit status."""
    _check(parser, parsed)
    try:
        early = Interrupted("stopped before the work began: run the same command again")
        with StopSignals(early) as signals, ExitStack() as stack:
            manifest = _run(parsed, signals, stack)
    except (BatchError, MemoryError, CommandFailed, OSError) as error:
        again = isinstance(error, TryAgain | MemoryError) or is_temporary(error)
        reason = escape_unprintable(describe_error(error) or "out of memory")
        print_status(f"elastic-yolo: {reason}")
        return TRY_AGAIN if again else 1
    if parsed.json:
        print(manifest.model_dump_json(indent=2, exclude={"checkpoint"}))
    else:
        print(describe(manifest, _share(parsed).in_output(parsed.output)))
    return 0


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    if len(parsed.input) > 1:
        # The shell replaced a glob by the names that it matches.
        parser.error(
            f"--input: expected one address, got {len(parsed.input)}: put a glob in quotes"
        )
    (parsed.input,) = parsed.input
    parsed.formats = tuple(dict.fromkeys(parsed.formats or ["jsonl"]))
    if parsed.completions > 1 and parsed.index is None:
        parser.error("--completions: needs --index, which of them this is")
    if parsed.index is not None and parsed.index >= parsed.completions:
        parser.error(f"--index {parsed.index}: expected less than --completions")
    if parsed.annotations and "coco" not in parsed.formats:
        parser.error("--annotations: only --format coco uses it")
    if parsed.workers > 1 and parsed.engine != _RAY:
        parser.error("--workers: only with --engine ray")
    if not is_remote(parsed.output) and Path(parsed.output).is_file():
        parser.error(f"--output: not a folder: {parsed.output}")
    if DRAWN in parsed.formats and _would_overlap(parsed.input, parsed.output):
        parser.error("--output: pictures with boxes would be among those of --input")


def _would_overlap(source: str, output: str) -> bool:
    """Return whether an input may find drawn pictures, or may be overwritten by them."""
    drawn = _real(f"{output.rstrip('/')}/{DRAWN}")
    pattern = glob.has_magic(source)
    root = _real(before_wildcard(source) if pattern else source)
    # A glob finds no deeper folders, except by **.
    return _is_inside(root, drawn) or (_is_inside(drawn, root) and (not pattern or "**" in source))


def _real(address: str) -> str:
    """Return a local path that is valid in any folder; a URL stays as it is."""
    return address if is_remote(address) else os.path.realpath(address)


def _is_inside(inner: str, outer: str) -> bool:
    return f"{inner.rstrip('/')}/".startswith(f"{outer.rstrip('/')}/")


def _run(parsed: argparse.Namespace, signals: StopSignals, stack: ExitStack) -> Manifest:
    """Run the job; `stack` closes everything."""
    model = chosen_model(parsed.model, parsed.resize)
    output = open_output(_share(parsed).in_output(parsed.output))
    if is_remote(parsed.input):
        print_status(f"listing {parsed.input}")
    pictures = stack.enter_context(closing(open_pictures(parsed.input)))
    annotations = parsed.annotations.read_bytes() if parsed.annotations else None
    encoders = _encoders(parsed, annotations, pictures, model)
    if DRAWN in parsed.formats:
        require_drawable_names(pictures.names)
        if pictures.remote or pictures.sequential:
            pictures = KeptPictures(pictures)
    job = describe_job(
        model,
        Parameters(parsed.threshold, parsed.iou, parsed.exact),
        parsed.formats,
        pictures,
        _share(parsed),
        annotations and digest_of_bytes(annotations),
    )
    limits = Limits(parsed.shard_size, parsed.max_errors)
    stack.enter_context(output.locked())
    checkpoint = read_checkpoint(output, job)
    if other := _share(parsed).other():
        require_same_input(open_output(other.in_output(parsed.output)), job)
    batch = Batch(parsed.input, pictures, output, encoders, checkpoint, limits)
    if checkpoint.finished:
        if checkpoint.done:
            print_status(
                f"this job is finished already, by {', '.join(checkpoint.engines)}: choose another "
                "--output to run it again"
            )
        return batch.finish()
    before = f", {checkpoint.done:,} of them done before" if checkpoint.done else ""
    print_status(f"{counted(len(job.numbers()), 'picture')} in {parsed.input}{before}")
    detecting = _detecting(parsed, model, job, pictures, stack)
    progress = stack.enter_context(RateLine())
    return batch.run(detecting, progress, signals.begin())


def _detecting(
    parsed: argparse.Namespace, model: Model, job: Job, pictures: Pictures, stack: ExitStack
) -> Detecting:
    """Return what detects, with the model loaded; `stack` ends it."""
    parameters = Parameters(job.threshold, job.iou, job.exact)
    if parsed.engine == _RAY:
        options = engine_options(argparse.Namespace(**{**vars(parsed), "engine": "auto"}))
        step = Step(
            _real(parsed.input),
            job.listing,
            model.folder.resolve(),
            model.resize,
            options,
            parameters,
        )
        # Ray prints what it notices on stdout, which is for results.
        stack.enter_context(redirect_stdout(sys.stderr))
        return stack.enter_context(closing(RayDetecting(step, parsed.workers)))
    parallel = ParallelDetector(build_detector(model, parsed), parameters, threads=parsed.threads)
    return LocalDetecting(stack.enter_context(parallel), pictures)


def _share(parsed: argparse.Namespace) -> Share:
    return Share(parsed.index or 0, parsed.completions)


def _encoders(
    parsed: argparse.Namespace, annotations: bytes | None, pictures: Pictures, model: Model
) -> dict[str, Encode]:
    ids = CocoIds()
    if "coco" in parsed.formats:
        try:
            truth = None if annotations is None else json.loads(annotations)
            ids = coco_ids(pictures.names, model.labels, truth)
        except (ValueError, BadInput) as error:
            raise BadInput(f"{parsed.annotations}: {error}") from error
    return {form: encoder(form, ids) for form in parsed.formats if form != DRAWN}


def _address(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a path or a URL")
    return text


def _index(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("expected an integer from 0")
    return int(text)
