"""`elastic-yolo detect`: detect objects in pictures, here or through the web service."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_yolo.cli.errors import CommandFailed, describe_failure
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_exact_option,
    add_resize_option,
    add_threshold_options,
    count,
    engine_options,
    model_folder,
    model_name,
    new_file,
    output_folder,
    positive,
)
from elastic_yolo.cli.pictures import (
    STDIN,
    expand_list,
    expand_pictures,
    overwritten,
    path_or_stdin,
    read_content,
    read_list,
    target_of,
)
from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.decode import decode_upright
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.picture.drawing import draw_boxes
from elastic_yolo.picture.drawn_types import JPEG
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.picture.header import read_header
from elastic_yolo.printable import escape_unprintable
from elastic_yolo.progress import RateLine, counted, describe_seconds, print_status
from elastic_yolo.reading import naming
from elastic_yolo.results.output import (
    FORMATS,
    TABLE,
    Output,
    name_in,
    read_results,
    to_file,
    to_stream,
)
from elastic_yolo.results.result import NotResults, Result

if TYPE_CHECKING:
    from elastic_yolo.cli.sending import Outcome

_LOCAL = ("exact", "resize", "engine", "precision", "cache", "device", "threads")
_REMOTE = ("concurrency", "rate", "patience")
_PATIENCE_S = 60.0
_CONCURRENCY = 4
_DESCRIPTION = """\
Detect objects in pictures: with a model on this machine (--model), or through the web service
(--url), which needs no model here.
"""
_EPILOG = """\
With --url, ELASTIC_YOLO_TOKEN in the environment is sent as the bearer token: an API key, or a
token. Exit status: 0 done, 1 a picture has no result, 2 wrong usage.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("detect", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "pictures", nargs="*", type=path_or_stdin, metavar="PICTURE",
        help="JPEG, PNG, WebP or BMP file, folder of them, pattern in quotes such as "
        "'photos/**/*.jpg', or - for a picture on standard input",
    )  # fmt: skip
    parser.add_argument(
        "--list", type=path_or_stdin, metavar="FILE",
        help="read further paths of pictures from a file, one a line, without patterns; - is "
        "standard input",
    )  # fmt: skip
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; with --url, the name of a model that the service has",
    )
    add_threshold_options(parser)
    _add_result_options(parser)
    _add_service_options(parser)
    add_exact_option(parser)
    add_resize_option(parser)
    add_engine_options(parser)
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def _add_result_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="table: for people; jsonl: a JSON object a line; csv: a row for each detection; coco: "
        "one COCO object (default: table)",
    )
    parser.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="jsonl",
        help="the same as --format jsonl",
    )
    parser.add_argument(
        "--output", type=new_file, metavar="FILE", help="write the results to this file"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep the results that --output has already, and detect in the other pictures only",
    )
    parser.add_argument(
        "--save", type=output_folder, metavar="DIR",
        help="write pictures with boxes to this folder (with --url, sends each picture twice)",
    )  # fmt: skip


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    service = parser.add_argument_group("through the web service")
    service.add_argument("--url", metavar="URL", help="address of web, http://HOST:PORT")
    service.add_argument(
        "--concurrency",
        type=count,
        metavar="N",
        help=f"pictures that are sent at the same time, at most (default: {_CONCURRENCY})",
    )
    service.add_argument(
        "--rate",
        type=positive,
        metavar="R",
        help="pictures per second, at most (default: no limit)",
    )
    service.add_argument(
        "--patience",
        type=positive,
        metavar="SECONDS",
        help="the longest time for reading a picture, and for a request with all attempts while "
        f"the service is busy or away (default: {_PATIENCE_S:.0f})",
    )


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Detect in every picture; one that fails is reported, and the exit status is 1."""
    _check(parser, parsed)
    pictures = expand_pictures(parsed.pictures)
    if parsed.list:
        pictures += expand_list(read_list(parsed.list))
    if not pictures:
        raise CommandFailed(f"{parsed.list}: no pictures")
    if parsed.save:
        for reason in overwritten(pictures, parsed.save):
            parser.error(reason)
    if parsed.output:
        _check_output(parser, parsed, pictures)
    earlier = _earlier(parsed) if parsed.resume else []
    if earlier:
        done = {result.picture for result in earlier}
        before = len(pictures)
        pictures = [path for path in pictures if name_in(parsed.format, str(path)) not in done]
        print_status(f"{before - len(pictures):,} of {counted(before, 'picture')} done before")
        if not pictures:
            return 0
    return (_send if parsed.url else _detect)(parsed, pictures, earlier)


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    parsed.format = parsed.format or TABLE
    if not parsed.pictures and not parsed.list:
        parser.error("the following arguments are required: PICTURE, or --list")
    if sum(one is STDIN for one in [*parsed.pictures, parsed.list]) > 1:
        parser.error("-: standard input can be read only once")
    if parsed.resume and not parsed.output:
        parser.error("--resume: needs --output, the file to go on with")
    if parsed.resume and parsed.format == TABLE:
        parser.error("--resume: needs --format jsonl, csv or coco, which can be read again")
    others = _LOCAL if parsed.url else _REMOTE
    for name in others:
        if getattr(parsed, name) != parser.get_default(name):
            reason = "not with --url: the service decides" if parsed.url else "only with --url"
            parser.error(f"--{name}: {reason}")
    if parsed.url:
        _check_service_options(parser, parsed)
    elif parsed.model is None:
        parser.error("the following arguments are required: --model, or --url")
    else:
        try:
            model_name(parsed.model)
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --model: {error}")


def _check_output(
    parser: argparse.ArgumentParser, parsed: argparse.Namespace, pictures: Sequence[Path]
) -> None:
    output = os.path.realpath(parsed.output)
    if output in map(os.path.realpath, pictures):
        parser.error(f"--output: would overwrite the picture {parsed.output}")
    if parsed.save and output in (
        os.path.realpath(target_of(parsed.save, one)) for one in pictures
    ):
        parser.error(f"--output: --save would write a picture to {parsed.output}")
    if parsed.output.exists() and not parsed.output.is_file():
        # It would be replaced by a file: as root, even /dev/null.
        parser.error(f"--output: not a regular file: {parsed.output}")


def _check_service_options(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    # Imported here because a model on this machine needs no client.
    from elastic_yolo.client.address import check_address  # noqa: PLC0415
    from elastic_yolo.client.asking import (  # noqa: PLC0415
        MOST_TIMEOUT_S,
        http_options,
        parameters,
    )
    from elastic_yolo.client.errors import BadArgument  # noqa: PLC0415

    if (parsed.patience or 0) > MOST_TIMEOUT_S:
        parser.error(f"--patience: expected at most {MOST_TIMEOUT_S:,} seconds, a week")
    try:
        check_address(parsed.url)
    except BadArgument as error:
        parser.error(f"--url: {error}")
    try:
        parameters(parsed.model, None, None)
    except BadArgument as error:
        parser.error(f"--{error}")
    try:
        # What is wrong now is in the environment; the message names the variable.
        http_options(parsed.url, None)
    except BadArgument as error:
        parser.error(str(error))


def _earlier(parsed: argparse.Namespace) -> list[Result]:
    try:
        return read_results(parsed.output, parsed.format)
    except NotResults as error:
        raise CommandFailed(f"--resume: {error}") from None


def _output(
    parsed: argparse.Namespace, earlier: Sequence[Result]
) -> AbstractContextManager[Output]:
    if parsed.output:
        return to_file(parsed.output, parsed.format, earlier)
    return to_stream(sys.stdout.buffer, parsed.format)


def _detect(parsed: argparse.Namespace, pictures: list[Path], earlier: Sequence[Result]) -> int:
    detector, _ = load_detector(
        model_folder(parsed.model), engine_options(parsed), resize=parsed.resize
    )
    status = 0
    with _output(parsed, earlier) as output:
        for path in pictures:
            try:
                data = read_content(path)
                found = detector.detect(data, parsed.threshold, parsed.iou, exact=parsed.exact)
                if parsed.save:
                    _save(target_of(parsed.save, path), data, found)
                size = read_header(data).upright_size
            except (OSError, PictureError, CommandFailed) as error:
                print_status(f"elastic-yolo: {escape_unprintable(describe_failure(path, error))}")
                status = 1
                continue
            output.add(Result(str(path), tuple(found), size))
    return status


def _send(parsed: argparse.Namespace, pictures: list[Path], earlier: Sequence[Result]) -> int:
    from elastic_yolo.cli.sending import Manner, Notes, Sending  # noqa: PLC0415  # see above

    manner = Manner(
        parsed.url,
        parsed.model,
        parsed.threshold,
        parsed.iou,
        parsed.concurrency or _CONCURRENCY,
        parsed.rate,
        parsed.patience or _PATIENCE_S,
        parsed.save,
    )
    with ExitStack() as stack:
        line = stack.enter_context(RateLine())
        # Results on the same terminal show the progress themselves.
        shown = line if parsed.output or not sys.stdout.isatty() else lambda *_: None
        logger = logging.getLogger("elastic_yolo.client")
        logger.setLevel(logging.INFO)
        logger.addHandler(Notes(line.say))
        sending = Sending(manner, stack.enter_context(_output(parsed, earlier)), shown)
        try:
            asyncio.run(sending.run(pictures))
        finally:
            stack.close()
            _report(sending.outcome, len(pictures), manner.patience_s)
    return 1 if sending.outcome.failures or sending.outcome.unsent else 0


def _report(outcome: Outcome, total: int, patience_s: float) -> None:
    """Print what failed, at the end, where it is seen."""
    failures, unsent = outcome.failures, outcome.unsent
    if not failures:
        return
    if outcome.gave_up_after_s is not None:
        print_status(
            f"elastic-yolo: gave up after {describe_seconds(outcome.gave_up_after_s)}: --patience "
            f"is {patience_s:g} s, the longest time for a picture"
        )
    left = f", {unsent:,} not sent, because they would fail as well" if unsent else ""
    print_status(f"elastic-yolo: {len(failures):,} of {counted(total, 'picture')} failed{left}:")
    for failure in failures:
        print_status(f"elastic-yolo: {escape_unprintable(failure)}")


def _save(target: Path, data: bytes, found: list[Detection]) -> None:
    boxes = [(item.label, item.score, item.box) for item in found]
    drawn = draw_boxes(decode_upright(data), boxes, JPEG)
    target.parent.mkdir(parents=True, exist_ok=True)
    with naming(target):
        target.write_bytes(drawn)
