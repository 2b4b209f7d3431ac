"""The three services with traces on, callers that have a trace, and next services that fail."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.collector import Collector, Span
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
TIERS = ("web", "preprocess", "inference")


@dataclass(frozen=True)
class Caller:
    """A caller that has a trace and propagates it."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def headers(self) -> dict[str, str]:
        flags = "01" if self.sampled else "00"
        return {
            "traceparent": f"00-{self.trace_id}-{self.span_id}-{flags}",
            "tracestate": "vendor=opaque,other=1",
        }


def caller(*, sampled: bool = True) -> Caller:
    return Caller(secrets.token_hex(16), secrets.token_hex(8), sampled)


def post(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(
        f"{url}/inference",
        content=JPEG,
        headers={"Content-Type": "image/jpeg", **(headers or {})},
        timeout=30,
    )


@dataclass(frozen=True)
class TracedStack:
    """The three services, the collector of their spans, and the folder with their logs."""

    stack: Stack
    collector: Collector
    logs: Path

    def lines(self, service: str) -> list[dict[str, object]]:
        lines = (self.logs / f"{service}.log").read_bytes().splitlines()
        return [orjson.loads(line) for line in lines if line.startswith(b"{")]


@contextmanager
def traced_services(folder: Path) -> Iterator[TracedStack]:
    """Run the three services with the tiny model, and a collector of their spans."""
    model = write_tiny_model(folder / "tiny")
    with Collector().running() as collector:
        env = dict.fromkeys(TIERS, collector.env)
        with Stack(model=model, logs=folder, env=env) as stack:
            # The first picture also requests the model's metadata.
            assert post(stack.web.url).status_code == 200
            yield TracedStack(stack, collector, folder)


@contextmanager
def web_alone(folder: Path, collector: Collector, preprocess: str, **env: str) -> Iterator[Service]:
    """Run a web service with `preprocess` as its next service, and wait until it listens."""
    settings = {"PREPROCESS_URL": preprocess, **collector.env, **env}
    with Service("web", free_port(), settings, folder / "web.log") as web:
        wait_until(lambda: _lives(web), "web listens")
        yield web


def _lives(service: Service) -> bool:
    try:
        return httpx.get(f"{service.url}/livez").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def listener(*, hang_up: bool) -> Iterator[str]:
    """Accept connections on loopback and never respond; with `hang_up`, close them immediately."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", free_port())) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                if hang_up:
                    connection.close()
                else:
                    held.append(connection)

        threading.Thread(target=take, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        # Wakes the thread; closing the socket would not.
        server.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def only(spans: list[Span], name: str, kind: str = "INTERNAL") -> Span:
    found = [span for span in spans if (span.name, span.kind) == (name, kind)]
    assert len(found) == 1, [(span.service, span.kind, span.name) for span in spans]
    return found[0]
