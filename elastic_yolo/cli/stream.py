"""`elastic-yolo stream`: detect in pictures as they arrive, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from elastic_yolo.cli.errors import CommandFailed
from elastic_yolo.cli.options import (
    MODEL_HELP,
    add_engine_options,
    add_resize_option,
    add_threshold_options,
    build_detector,
    chosen_model,
    count,
    model_name,
    positive,
    tcp_port,
)
from elastic_yolo.cli.signals import StopSignals
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.printable import escape_unprintable
from elastic_yolo.progress import counted, print_status
from elastic_yolo.stream.addresses import SourceOptions, open_sink, open_source
from elastic_yolo.stream.detecting import Detecting, InProcess
from elastic_yolo.stream.ends import Sink, Source
from elastic_yolo.stream.errors import BadAddress, StreamError
from elastic_yolo.stream.metrics import Health, StreamMetrics, metrics_server
from elastic_yolo.stream.runner import Limits, Stream

# Longer waits overflow timers, shorter ones only keep the processor busy.
_LEAST_S, _MOST_S = 0.1, 86_400.0
# After the drain: the time for closing the ends before the process ends anyhow.
_CLOSE_S = 5.0
_FAILED = 1
_LOG = logging.getLogger(__name__)
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

Exit status: 0 all sources have ended, or stopped by SIGTERM or Ctrl-C; 1 failed, or stopped with
pictures that could not be finished within --drain-timeout; 2 wrong usage. What is not acknowledged
is delivered again.
"""

# Options that have no effect on the services behind --url.
_OF_THIS_PROCESS = ("engine", "precision", "device", "cache", "resize")


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
    add_threshold_options(parser)
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
        type=_seconds,
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
        type=_seconds,
        default=30.0,
        metavar="S",
        help="seconds to finish what was received, after SIGTERM or Ctrl-C (default: 30)",
    )


def _seconds(text: str) -> float:
    """Parse a time to wait."""
    value = positive(text)
    if _LEAST_S <= value <= _MOST_S:
        return value
    raise argparse.ArgumentTypeError(f"expected seconds, {_LEAST_S:g} to {_MOST_S:,.0f}")


def run(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> int:
    """Run until the sources end or a signal comes; return the exit status."""
    _check(parser, parsed)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # It logs every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        with (
            StopSignals() as signals,
            _ending_in_time(signals.stop, parsed.drain_timeout + _CLOSE_S),
            ExitStack() as stack,
        ):
            return _run(parsed, signals.stop, stack)
    except BadAddress as error:
        parser.error(str(error))
    except StreamError as error:
        raise CommandFailed(str(error)) from error


class _OneLine(logging.Formatter):
    """Writes a message in one line: a name of a file or a topic may have line breaks."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        record.message = escape_unprintable(record.message)
        return super().formatMessage(record)


def _run(parsed: argparse.Namespace, stop: Event, stack: ExitStack) -> int:
    metrics, health = StreamMetrics(), Health()
    server = _listen(parsed, metrics, health, stack)
    options = SourceOptions(parsed.fps, parsed.claim_after)
    sources: list[Source] = []
    sinks: list[Sink] = []
    stack.callback(_close, sources)
    stack.callback(_close, sinks)
    sources.extend(open_source(address, options) for address in parsed.sources)
    sinks.extend(open_sink(address, parsed.debounce) for address in parsed.sinks)
    _require_distinct("--source", sources)
    _require_distinct("--sink", sinks)
    newest_only = any(source.newest_only for source in sources)
    detecting = _detecting(parsed, newest_only=newest_only)
    stack.callback(detecting.close)
    if server is not None:
        health.turned()
        Thread(target=server.serve_forever, name="metrics", daemon=True).start()
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
        print_status(f"{counted(stream.answered, 'picture')} answered, {rate:.1f}/s{rejected}")
    if stream.given_up:
        raise CommandFailed(
            f"{counted(stream.given_up, 'picture')} not finished within --drain-timeout "
            f"{parsed.drain_timeout:g}; what is not acknowledged is delivered again"
        )
    return 0


def _listen(
    parsed: argparse.Namespace, metrics: StreamMetrics, health: Health, stack: ExitStack
) -> ThreadingHTTPServer | None:
    """Take the port before the model is loaded, which may be for nothing otherwise."""
    if parsed.metrics_port is None:
        return None
    try:
        server = metrics_server(metrics, health, parsed.metrics_port)
    except OSError as error:
        raise CommandFailed(f"--metrics-port {parsed.metrics_port}: {error.strerror}") from error
    stack.callback(server.server_close)
    return server


def _require_distinct(option: str, ends: Sequence[Source] | Sequence[Sink]) -> None:
    """Raise BadAddress for two ends with one name: results and metrics would be mixed."""
    names = [end.name for end in ends]
    for name in names:
        if names.count(name) > 1:
            raise BadAddress(f"{option}: two of them have the name {name}")


def _close(ends: Sequence[Source] | Sequence[Sink]) -> None:
    """Close all ends at the same time: each may wait for another end that does not respond."""
    threads = [Thread(target=end.close, daemon=True) for end in ends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _ending_in_time(stop: Event, seconds: float) -> Iterator[None]:
    """End the process if the block still runs so long after the stop, because some end hangs.

    Whoever stopped it would kill it soon, and for the messages that is the same.
    """
    ended = Event()

    def watch() -> None:
        stop.wait()
        if not ended.wait(seconds):
            _LOG.error("%.0f s after the stop something hangs: the process ends", seconds)
            os._exit(_FAILED)

    Thread(target=watch, name="end-in-time", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
        stop.set()


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
    parameters = Parameters(parsed.threshold, parsed.iou)
    # With all threads on one frame, each answer is as new as it can be.
    streams = 1 if newest_only else None
    detector = ParallelDetector(
        build_detector(model, parsed), parameters, threads=parsed.threads, streams=streams
    )
    return InProcess(detector, newest_only=newest_only)


def _check(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    parsed.sinks = parsed.sinks or ["-"]
    if parsed.url is None and parsed.model is None:
        parser.error("expected --model MODEL, or --url with the URL of web")
    if parsed.url is not None:
        for name in _OF_THIS_PROCESS:
            if getattr(parsed, name) not in (None, "auto"):
                parser.error(f"--{name}: not with --url: the services decide")
        return
    try:
        model_name(parsed.model)
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --model: {error}")
