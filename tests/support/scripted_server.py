"""A real server on a free port that sends a test's scripted responses one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OK = b'{"success": "true", "uid": "00000000000000000000000000000000", "data": []}'


@dataclass(frozen=True)
class Response:
    """A scripted response; `status` 0 closes the connection without one."""

    status: int = 200
    body: bytes = OK
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class TinyServer:
    """The server's URL, and the number of pictures received."""

    url: str = ""
    requests: int = 0


@contextmanager
def serve(*responses: Response) -> Iterator[TinyServer]:
    """Send the responses in order, then repeat the last one; always ready."""
    state = TinyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(Response(body=b"{}"))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            response = responses[min(state.requests, len(responses) - 1)]
            state.requests += 1
            if response.status:
                self._send(response)
            self.close_connection = True

        def _send(self, response: Response) -> None:
            self.send_response(response.status)
            for name, value in {
                "Content-Length": str(len(response.body)),
                **response.headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield state
        finally:
            server.shutdown()
