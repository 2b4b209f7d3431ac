"""The spans of a request, by OpenTelemetry's semantic conventions for HTTP (1.23 and later).

A SERVER span for the request, a CLIENT span for each attempt to reach the next service, an INTERNAL
span for each phase of Server-Timing. OpenTelemetry's own instrumentation supports neither this
project's HTTP client nor the phases: docs/decisions/017-traces.md.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass
from http import HTTPMethod, HTTPStatus
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import Scope

from elastic_yolo import __version__
from services.common.observe.logs import get_logger, span_ids

# Probes and scrapes, requested every few seconds.
_UNTRACED = frozenset(
    {
        "/livez", "/readyz", "/health/ping", "/metrics", "/v2/health/live", "/v2/health/ready",
        "/grpc.health.v1.Health/Check", "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)  # fmt: skip
# The middleware's status for a caller that hung up before the response began.
_CALLER_LEFT = 499
# Time at the end of a process for sending its last spans.
_FLUSH_S = 1.5
# Characters of a value that a caller chooses; the queue holds 2,048 spans by default.
_MAX_TEXT = 512
_LOG_PERIOD_S = 60.0  # between two lines of one log statement of OpenTelemetry

_PROPAGATOR = TraceContextTextMapPropagator()
# The methods of the conventions; a caller could invent any number of others.
_METHODS = frozenset(HTTPMethod)
_OTHER = "_OTHER"
_FACTS = ("name", "version", "digest")


class Tracing:
    """The tracing of one process: sampler, queue, and the thread that sends spans.

    The queue is bounded and drops spans when it is full, so no request waits for a collector.
    """

    def __init__(self, service: str) -> None:
        """Read the OTEL_ variables; raises what the SDK raises for an invalid one."""
        for handler in logging.getLogger().handlers:
            handler.addFilter(_LogLimit())
        defaults = {
            "service.name": f"elastic-yolo-{service}",
            "service.version": __version__,
            "service.instance.id": str(uuid.uuid4()),
            # In Kubernetes, the pod's name.
            "host.name": socket.gethostname(),
        }
        stated = OTELResourceDetector().detect().attributes
        self._provider = TracerProvider(
            resource=Resource.create({**defaults, **stated}),
            # `close` does it, with a time limit that holds.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("elastic-yolo", __version__)

    def begin(self, scope: Scope, headers: Headers, request_id: str) -> RequestTrace | None:
        """Return the trace of a request, or None for a probe."""
        if scope["path"] in _UNTRACED:
            return None
        return RequestTrace(self._tracer, scope, headers, request_id)

    def close(self, timeout_s: float = _FLUSH_S) -> None:
        """Send pending spans for at most `timeout_s` seconds."""
        # The SDK's own time limits do not hold while an export hangs.
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(timeout_s)
        if ending.is_alive():
            get_logger().warning("pending spans were not sent", waited_s=timeout_s)


@dataclass
class Attempt:
    """One attempt to reach the next service; `headers` propagate the trace."""

    headers: dict[str, str]
    status_code: int = 0
    """Of the response; 0 until there is one."""


class RequestTrace:
    """The spans of one request in this process; if it is not sampled, only its ids."""

    def __init__(self, tracer: Tracer, scope: Scope, headers: Headers, request_id: str) -> None:
        """Begin the SERVER span, as a child of the caller's span if the headers have one."""
        # One clock for all moments of a request, so that its spans nest.
        self._epoch_ns = time.time_ns() - time.perf_counter_ns()
        self._tracer = tracer
        self._method = scope["method"] if scope["method"] in _METHODS else _OTHER
        self._span = tracer.start_span(
            "HTTP" if self._method is _OTHER else self._method,
            _read_parent(headers),
            SpanKind.SERVER,
            start_time=self._now_ns(),
        )
        self._context = set_span_in_context(self._span, Context())
        self._recording = self._span.is_recording()
        if self._recording:
            self._span.set_attributes(_describe(self._method, scope, headers, request_id))
        identity = self._span.get_span_context()
        self._logged: Token[dict[str, str] | None] = span_ids.set(
            {
                "trace_id": format_trace_id(identity.trace_id),
                "span_id": format_span_id(identity.span_id),
            }
        )

    def name_client(self, client: str) -> None:
        """Add the name of the client to the SERVER span."""
        if self._recording:
            self._span.set_attribute("elastic_yolo.client", client)

    def name_model(self, facts: Mapping[str, str]) -> None:
        """Add name, version and digest of the model to the SERVER span."""
        if self._recording:
            self._span.set_attributes(
                {f"elastic_yolo.model.{fact}": facts[fact] for fact in _FACTS if fact in facts}
            )

    @contextmanager
    def attempt(
        self, method: str, url: str, process: tuple[str, int], *, resend_count: int
    ) -> Iterator[Attempt]:
        """Trace one attempt to reach the next service; `resend_count` is 0 for the first.

        `process` is IP address and port of the endpoint.
        """
        if not self._recording:
            yield Attempt(_write_parent(self._context))
            return
        span = self._tracer.start_span(
            method,
            self._context,
            SpanKind.CLIENT,
            _describe_attempt(method, url, process, resend_count),
            start_time=self._now_ns(),
        )
        attempt = Attempt(_write_parent(set_span_in_context(span, Context())))
        try:
            yield attempt
        except BaseException as error:
            _fail(span, type(error).__qualname__)
            raise
        else:
            span.set_attribute("http.response.status_code", attempt.status_code)
            if attempt.status_code >= HTTPStatus.BAD_REQUEST:
                _fail(span, str(attempt.status_code))
        finally:
            span.end(self._now_ns())

    def end(self, route: str | None, status: int) -> None:
        """End the SERVER span; `route` is the pattern, or None if no route matched."""
        span_ids.reset(self._logged)
        if not self._recording:
            return
        if route is not None:
            self._span.set_attribute("http.route", route)
            self._span.update_name(f"{self._method} {route}")
        if status == _CALLER_LEFT:
            _fail(self._span, "caller_left")
        else:
            self._span.set_attribute("http.response.status_code", status)
            # A caller's error (4xx) is no error of the service.
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _fail(self._span, str(status))
        self._span.end(self._now_ns())

    def add_phase(self, name: str, started: float, ended: float) -> None:
        """Add a span between two moments of `time.perf_counter`; any thread may call this."""
        if not self._recording:
            return
        span = self._tracer.start_span(name, self._context, start_time=self._at_ns(started))
        span.end(self._at_ns(ended))

    def _at_ns(self, moment: float) -> int:
        return self._epoch_ns + round(moment * 1e9)

    def _now_ns(self) -> int:
        return self._epoch_ns + time.perf_counter_ns()


class _LogLimit(logging.Filter):
    """Passes each log statement of OpenTelemetry once a minute.

    It would log every failed batch and every invalid header of a caller.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("opentelemetry."):
            return True
        now, place = time.monotonic(), (record.pathname, record.lineno)
        if now - self._logged_at.get(place, -_LOG_PERIOD_S) < _LOG_PERIOD_S:
            return False
        self._logged_at[place] = now
        return True


def _read_parent(headers: Headers) -> Context:
    """Return the caller's trace context; an empty one if there is none or it is invalid."""
    parents = headers.getlist("traceparent")
    if len(parents) != 1:
        return Context()
    states = headers.getlist("tracestate")
    carrier = {"traceparent": parents, "tracestate": states} if states else {"traceparent": parents}
    return _PROPAGATOR.extract(carrier, Context())


def _write_parent(context: Context) -> dict[str, str]:
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, context)
    return headers


def _describe(
    method: str, scope: Scope, headers: Headers, request_id: str
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "http.request.method": method,
        "url.scheme": scope["scheme"],
        "url.path": scope["path"][:_MAX_TEXT],
        "network.protocol.version": scope["http_version"],
        "elastic_yolo.request_id": request_id,
    }
    if method is _OTHER:
        found["http.request.method_original"] = scope["method"][:_MAX_TEXT]
    if scope["query_string"]:
        found["url.query"] = scope["query_string"].decode("latin-1")[:_MAX_TEXT]
    name, port = _split_host(headers.get("host", ""))
    if name:
        found["server.address"] = name[:_MAX_TEXT]
        if port:
            found["server.port"] = int(port)
    if agent := headers.get("user-agent"):
        found["user_agent.original"] = agent[:_MAX_TEXT]
    return found


def _describe_attempt(
    method: str, url: str, process: tuple[str, int], resend_count: int
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "http.request.method": method,
        "url.full": url,
        "server.address": urlsplit(url).hostname or "",
        "server.port": process[1],
        "network.protocol.version": "1.1",
        "network.peer.address": process[0],
        "network.peer.port": process[1],
    }
    if resend_count:
        found["http.request.resend_count"] = resend_count
    return found


def _split_host(host: str) -> tuple[str, str]:
    """Return name and port of `name:port` or `[::1]:port`; the port is empty if invalid."""
    name, colon, port = host.rpartition(":")
    if not colon or name.endswith(":") or (":" in name and not name.endswith("]")):
        return host.strip("[]"), ""
    return name.strip("[]"), port if port.isascii() and port.isdigit() and len(port) < 6 else ""


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
