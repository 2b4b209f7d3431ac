"""What a stream reports: Prometheus metrics, and two probes, on a port of their own."""

from __future__ import annotations

import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    exposition,
)

# From frames of cameras to pictures that waited for hours.
_AGES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class StreamMetrics:
    """The metrics of one process; documented in docs/metrics.md."""

    def __init__(self) -> None:
        """Create a registry of their own, so that several can exist."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.messages = Counter(
            "elastic_yolo_stream_messages",
            "Pictures by what became of them: answered or rejected.",
            ["source", "outcome"],
            registry=self.registry,
        )
        self.redelivered = Counter(
            "elastic_yolo_stream_redelivered",
            "Messages that had been delivered before.",
            ["source"],
            registry=self.registry,
        )
        self.retries = Counter(
            "elastic_yolo_stream_retries",
            "Attempts that were repeated: at a source, at a sink, or to detect.",
            ["end"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "elastic_yolo_stream_frames_dropped",
            "Frames of a camera that were dropped because a newer one came first.",
            ["source"],
            registry=self.registry,
        )
        self.lag = Gauge(
            "elastic_yolo_stream_lag",
            "Messages of the source that are not acknowledged yet.",
            ["source"],
            registry=self.registry,
        )
        self.age = Gauge(
            "elastic_yolo_stream_answered_age_seconds",
            "How old the newest answered picture of a source is now.",
            ["source"],
            registry=self.registry,
        )
        self.delay = Histogram(
            "elastic_yolo_stream_delay_seconds",
            "Time from when a picture entered its source until its result was written.",
            ["source"],
            buckets=_AGES_S,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "elastic_yolo_stream_in_flight",
            "Messages that this process has received and not acknowledged.",
            registry=self.registry,
        )
        self._newest: dict[str, float] = {}

    def answered(self, source: str, added_at: float) -> None:
        """Count an answered picture that entered its source at a time, in seconds since 1970."""
        now = time.time()
        self.messages.labels(source, "answered").inc()
        self.delay.labels(source).observe(max(0.0, now - added_at))
        if source not in self._newest:
            self.age.labels(source).set_function(lambda: time.time() - self._newest[source])
        # A producer's clock may be ahead of ours: until ours is there, the age would not rise.
        self._newest[source] = max(self._newest.get(source, 0.0), min(added_at, now))


class Health:
    """Whether the process works: what the probes ask for."""

    def __init__(self) -> None:
        """Start as alive and not ready."""
        self.ready = False
        self.turned_at = time.monotonic()

    def turned(self) -> None:
        """Note that the main loop is not stuck."""
        self.turned_at = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether the main loop has turned within the last minute."""
        return time.monotonic() - self.turned_at < _STUCK_S


_STUCK_S = 60.0


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Listen on IPv6 and IPv4: a cluster may have only one of them."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, *_: object) -> None:
        """Log nothing: a scraper that gives up is no fault of the stream."""


def metrics_server(metrics: StreamMetrics, health: Health, port: int) -> ThreadingHTTPServer:
    """Return a server of /metrics, /livez and /readyz, which listens on all addresses.

    It responds once the caller runs `serve_forever`. Port 0 is any free one. Raises OSError.
    """

    class Handler(BaseHTTPRequestHandler):
        # A client that sends nothing must not hold a thread for ever.
        timeout: ClassVar[float | None] = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                text = exposition.generate_latest(metrics.registry)
                self._respond(200, text, exposition.CONTENT_TYPE_LATEST)
            elif path == "/livez":
                self._respond(*((200, b"ok\n") if health.alive else (503, b"stuck\n")))
            elif path == "/readyz":
                self._respond(*((200, b"ok\n") if health.ready else (503, b"not ready\n")))
            else:
                self._respond(404, b"not found\n")

        def _respond(self, status: int, body: bytes, kind: str = "text/plain") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: probes and scrapes come every few seconds."""

    return _Server(("", port), Handler)
