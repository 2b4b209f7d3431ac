"""A real OTLP/HTTP receiver, which reads spans with OpenTelemetry's own protobuf classes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.support.waiting import wait_until

KINDS = {
    ProtoSpan.SPAN_KIND_INTERNAL: "INTERNAL",
    ProtoSpan.SPAN_KIND_SERVER: "SERVER",
    ProtoSpan.SPAN_KIND_CLIENT: "CLIENT",
}


@dataclass(frozen=True)
class Span:
    """A span as received; ids in hex, no parent is an empty string, times in ns since 1970."""

    service: str
    resource: dict[str, Any]
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    state: str
    begin: int
    end: int
    failed: bool
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Keeps the spans that it receives; answers with `status`, or never if `hangs`."""

    status: int = 200
    hangs: bool = False
    port: int = 0
    requests: int = 0
    spans: list[Span] = field(default_factory=list)
    hung: threading.Event = field(default_factory=threading.Event)

    @property
    def env(self) -> dict[str, str]:
        """The environment with which a service sends its spans here, after 50 ms."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
        }

    def of(self, trace_id: str) -> list[Span]:
        """Return the spans of a trace received so far, ordered by their begin."""
        spans = [span for span in list(self.spans) if span.trace_id == trace_id]
        return sorted(spans, key=lambda span: span.begin)

    def wait(self, trace_id: str, root: str) -> list[Span]:
        """Return the spans of a trace once it is complete, up to the span `root`."""

        def is_complete() -> bool:
            spans = self.of(trace_id)
            ids = {span.span_id for span in spans} | {root}
            parents = {span.parent for span in spans}
            # A CLIENT span with a response has a child, which another process sends.
            answered = {
                span.span_id
                for span in spans
                if span.kind == "CLIENT" and "http.response.status_code" in span.attributes
            }
            return root in parents and parents <= ids and answered <= parents

        wait_until(is_complete, f"trace {trace_id} is complete")
        return self.of(trace_id)

    @contextmanager
    def running(self) -> Iterator[Collector]:
        """Listen until the block ends."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                if collector.hangs:
                    collector.hung.wait()
                    return
                if collector.status == 200:
                    collector.keep(self.path, self.headers["content-type"], body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(collector.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.hung.set()
            server.shutdown()
            thread.join()
            server.server_close()

    def keep(self, path: str, content_type: str, body: bytes) -> None:
        """Read an OTLP/HTTP request; a failed assertion becomes a failed request."""
        assert (path, content_type) == ("/v1/traces", "application/x-protobuf")
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.spans += [_span(resource, span) for span in scope.spans]


def _span(resource: dict[str, Any], span: ProtoSpan) -> Span:
    return Span(
        service=resource["service.name"],
        resource=resource,
        name=span.name,
        kind=KINDS[span.kind],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        begin=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in attributes:
        assert isinstance(attribute, KeyValue)
        kind = attribute.value.WhichOneof("value")
        found[attribute.key] = getattr(attribute.value, str(kind))
    return found
