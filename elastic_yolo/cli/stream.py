"""`elastic-yolo stream`: detect in pictures as they arrive, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Event
from typing import Any

from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_resize_option,
    chosen_model,
    count,
    engine_options,
    fraction,
    model_name,
    positive,
    tcp_port,
)
from elastic_yolo.cli.signals import stopped_by_signals
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import build_engine
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.progress import print_status
from elastic_yolo.stream.addresses import SourceOptions, open_sink, open_source
from elastic_yolo.stream.detecting import Detecting, InProcess
from elastic_yolo.stream.ends import Sink, Source
from elastic_yolo.stream.errors import BadAddress, StreamError
from elastic_yolo.stream.metrics import Health, StreamMetrics, serve_metrics
from elastic_yolo.stream.runner import Limits, Stream

_EPILOG = """\
sources:
  redis://HOST:PORT/DB?stream=NAME&group=NAME   a Redis stream; also rediss://
  kafka://HOST:PORT[,HOST:PORT]/TOPIC?group=NAME   a Kafka topic (extra: kafka)
  rtsp://... rtsps://... http://... https://...  a camera (RTSP, MJPEG): its newest frames
  FILE.mp4, .mkv, .avi, ...                      every frame of a video
  FOLDER                                         pictures that are moved into a folder
sinks:
  -                                              JSON lines on stdout (the default)
  FILE.jsonl                                     JSON lines, appended
  FOLDER                                         a JSON file for each result
  redis://HOST:PORT/DB?stream=NAME&maxlen=N      a Redis stream; also rediss://
  kafka://HOST:PORT/TOPIC                        a Kafka topic
  http://... https://...                         a webhook: events such as "person entered"
  mqtt://HOST:PORT/TOPIC                         events by MQTT; also mqtts://

Exit status: 0 a source has ended, or stopped by SIGTERM or Ctrl-C and drained; 1 failed; 2 wrong
usage. What is not acknowledged is delivered again.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "stream",
        description="Detect objects in pictures as they arrive: from Redis, Kafka, cameras, videos "
        "or a folder. A picture is acknowledged when its result is written.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        dest="sources",
        action="append",
        required=True,
        metavar="ADDRESS",
        help="where pictures come from; may be repeated",
    )
    parser.add_argument(
        "--sink",
        dest="sinks",
        action="append",
        metavar="ADDRESS",
        help="where results go; may be repeated, every sink gets all (default: -)",
    )
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{MODEL_HELP}; with --url: a model that the services serve (default: theirs)",
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        help="detect by the three services behind the URL of web, instead of in this process; "
        "ACCESS_TOKEN in the environment is web's token",
    )
    _add_stream_options(parser)
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
    add_resize_option(parser)
    add_engine_options(parser)
    parser.set_defaults(run=lambda parsed: run(parser, parsed))


def _add_stream_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fps",
        type=positive,
        metavar="N",
        help="take at most N frames a second of each camera or video (default: all)",
    )
    parser.add_argument(
        "--tries",
        type=count,
        default=3,
        metavar="N",
        help="deliveries of a picture after which it goes to the dead letters (default: 3)",
    )
    parser.add_argument(
        "--claim-after",
        type=positive,
        default=60.0,
        metavar="S",
        help="seconds after which the messages of a consumer that vanished are taken over "
        "(default: 60)",
    )
    parser.add_argument(
        "--debounce",
        type=positive,
        default=1.0,
        metavar="S",
        help="seconds for which a number of objects must last to become an event (default: 1)",
    )
    parser.add_argument(
        "--metrics-port",
        type=tcp_port,
        metavar="PORT",
        help="serve /metrics, /livez and /readyz on this port (default: not at all)",
    )
    parser.add_argument(
        "--drain-timeout",
        type=positive,
        default=30.0,
        metavar="S",
        help="seconds to finish what was received, after SIGTERM or Ctrl-C (default: 30)",
    )


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run until the sources end or a signal comes; return the exit status."""
    _check(parser, parsed)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    # It logs every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with stopped_by_signals() as stop, ExitStack() as stack:
            return _run(parsed, stop, stack)
    except BadAddress as error:
        parser.error(str(error))
    except StreamError as error:
        raise CommandFailed(str(error)) from error


def _run(parsed: argparse.Namespace, stop: Event, stack: ExitStack) -> int:
    options = SourceOptions(parsed.fps, parsed.claim_after)
    sources: list[Source] = []
    for address in parsed.sources:
        sources.append(open_source(address, options))
        stack.callback(sources[-1].close)
    sinks: list[Sink] = []
    for address in parsed.sinks:
        sinks.append(open_sink(address, parsed.debounce))
        stack.callback(sinks[-1].close)
    newest_only = any(source.newest_only for source in sources)
    detecting = _detecting(parsed, newest_only=newest_only)
    stack.callback(detecting.close)
    metrics, health = StreamMetrics(), Health()
    if parsed.metrics_port is not None:
        server = serve_metrics(metrics, health, parsed.metrics_port)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
    limits = Limits(parsed.tries, parsed.drain_timeout)
    stream = Stream(sources, sinks, detecting, limits, metrics, health, stop)
    started = time.monotonic()
    print_status(f"{_names(sources)} -> {_names(sinks)}")
    try:
        stream.run()
    finally:
        rate = stream.answered / max(time.monotonic() - started, 1e-9)
        rejected = f", {stream.rejected:,} rejected" if stream.rejected else ""
        print_status(f"{stream.answered:,} pictures answered, {rate:.1f}/s{rejected}")
    return 0


def _names(ends: Sequence[Source] | Sequence[Sink]) -> str:
    return ", ".join(end.name for end in ends)


def _detecting(parsed: argparse.Namespace, *, newest_only: bool) -> Detecting:
    if parsed.url is not None:
        # Imported here: only --url needs an HTTP client.
        from elastic_yolo.stream.through_services import Query, ThroughServices  # noqa: PLC0415

        query = Query(parsed.model, parsed.threshold, parsed.iou)
        token = os.environ.get("ACCESS_TOKEN") or None
        return ThroughServices(parsed.url, query, token, newest_only=newest_only)
    model = chosen_model(parsed.model, parsed.resize)
    engine, choice = build_engine(model, engine_options(parsed))
    print_status(f"{model.name} {model.version}, {choice.why}")
    parameters = Parameters(parsed.threshold, parsed.iou)
    # With all threads on one frame, each answer is as new as it can be.
    streams = 1 if newest_only else None
    detector = ParallelDetector(
        Detector(model, engine), parameters, threads=parsed.threads, streams=streams
    )
    return InProcess(detector, newest_only=newest_only)


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    parsed.sinks = parsed.sinks or ["-"]
    for option, addresses in (("--source", parsed.sources), ("--sink", parsed.sinks)):
        twice = [address for address in addresses if addresses.count(address) > 1]
        if twice:
            parser.error(f"{option}: {twice[0]} is given twice")
    if parsed.url is None and parsed.model is None:
        parser.error("expected --model MODEL, or --url with the URL of web")
    if parsed.url is None:
        try:
            model_name(parsed.model)
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --model: {error}")
