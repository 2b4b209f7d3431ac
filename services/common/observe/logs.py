"""Log lines: JSON where a collector reads them, aligned text where a person does."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from functools import cache

import orjson
import structlog

span_ids: ContextVar[dict[str, str] | None] = ContextVar("span_ids", default=None)
"""What log lines say of the trace that the running request belongs to."""


def configure_logs(service: str, level: str, log_format: str) -> None:
    """Send structlog's and the standard library's messages to stderr in one form."""
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
        _name_service(service),
        _name_span,
        structlog.processors.StackInfoRenderer(),
    ]
    exceptions = [] if text else [structlog.processors.format_exc_info]
    colours = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    _configure_libraries(
        level,
        [structlog.stdlib.ExtraAdder(), *shared],
        [*exceptions, colours if text else structlog.processors.JSONRenderer()],
    )
    # Our own lines do not go through the standard library, and are bytes at once: there is one for
    # each picture, and it took a twentieth of all CPU.
    structlog.configure(
        processors=[
            *shared,
            *exceptions,
            colours if text else structlog.processors.JSONRenderer(orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=(
            structlog.WriteLoggerFactory(sys.stderr)
            if text
            else structlog.BytesLoggerFactory(sys.stderr.buffer)
        ),
        cache_logger_on_first_use=True,
    )


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
    # Requests, start and stop have lines of our own; what is left there are warnings and errors.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


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


@cache
def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger that services use, as it was configured when it was first used."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
