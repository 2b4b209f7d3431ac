"""Log lines: aligned text on a terminal, JSON everywhere else."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, BinaryIO, TextIO, cast

import orjson
import structlog

from elastic_yolo.printable import escape_unprintable

span_ids: ContextVar[dict[str, str] | None] = ContextVar("span_ids", default=None)
"""The trace id and span id of the current request, for its log lines."""


def configure_logs(service: str, level: str) -> None:
    """Write structlog's and the standard library's messages to stderr in one format."""
    text = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
        _name_service(service),
        _name_span,
        _escape_control_characters,
        structlog.processors.StackInfoRenderer(),
    ]
    exceptions = [] if text else [structlog.processors.format_exc_info]
    # Rich's tracebacks, where it is installed, take seconds and show the values of variables.
    colours = structlog.dev.ConsoleRenderer(
        colors=text, exception_formatter=structlog.dev.plain_traceback
    )
    _configure_libraries(
        level,
        [structlog.stdlib.ExtraAdder(), *shared],
        [*exceptions, colours if text else structlog.processors.JSONRenderer()],
    )
    # The services' own lines bypass the standard library and are written as bytes: there is one for
    # each picture, and it took 5 % of all CPU time.
    structlog.configure(
        processors=[
            *shared,
            *exceptions,
            colours if text else structlog.processors.JSONRenderer(orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.WriteLoggerFactory(cast("TextIO", _LossyStream(sys.stderr)))
            if text
            else structlog.BytesLoggerFactory(cast("BinaryIO", _LossyStream(sys.stderr.buffer)))
        ),
        cache_logger_on_first_use=True,
    )


class _LossyStream:
    """Drops what cannot be written: a full disk or a closed pipe fails no request."""

    def __init__(self, stream: TextIO | BinaryIO) -> None:
        self._stream: Any = stream

    def write(self, data: str | bytes) -> None:
        with suppress(OSError):
            self._stream.write(data)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def _configure_libraries(
    level: str,
    before: list[structlog.typing.Processor],
    final: list[structlog.typing.Processor],
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The services log requests, start and stop themselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # It would log each look at etcd and at an issuer's keys, whose failures are logged once.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _name_service(service: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    return add


def _name_span(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    ids = span_ids.get()
    if ids is not None:
        event.update(ids)
    return event


def _escape_control_characters(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape what could move a terminal's cursor or begin a line; a path or a name may have it."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = escape_unprintable(value)
    return event


@cache
def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the services' logger, with the configuration at its first use."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
