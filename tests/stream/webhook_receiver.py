"""A real HTTP server that receives what a webhook sends, and responds as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Respond = Callable[[dict[str, Any]], tuple[int, dict[str, str]]]
"""Returns status and headers for the JSON of a request."""


@dataclass
class Receiver:
    """What was received, whatever the response was."""

    respond: Respond
    url: str = ""
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)


def accept(_: dict[str, Any]) -> tuple[int, dict[str, str]]:
    """Respond that it was received."""
    return 204, {}


@contextmanager
def receiving(respond: Respond = accept) -> Iterator[Receiver]:
    """Run the server until the block ends."""
    state = Receiver(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["Content-Type"] == "application/json"
            state.paths.append(self.path)
            state.bodies.append(body)
            state.logins.append(self.headers["Authorization"])
            status, headers = state.respond(body)
            self.send_response(status)
            text = b"" if status == 204 else b"because\nof this"
            if status != 204:
                self.send_header("Content-Length", str(len(text)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        state.url = f"http://127.0.0.1:{server.server_port}/hook"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield state
        finally:
            server.shutdown()
