"""A real server on a free port that answers pictures as a test says, one answer after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OK = b'{"success": "true", "uid": "00000000000000000000000000000000", "data": []}'


@dataclass(frozen=True)
class Answer:
    """What a request gets; `status` 0 closes the connection without an answer."""

    status: int = 200
    body: bytes = OK
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class TinyServer:
    """Where it is, and how many pictures have come."""

    url: str = ""
    requests: int = 0


@contextmanager
def serve(*answers: Answer) -> Iterator[TinyServer]:
    """Serve the answers in order, the last one for ever; always ready."""
    state = TinyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(Answer(body=b"{}"))

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = answers[min(state.requests, len(answers) - 1)]
            state.requests += 1
            if answer.status:
                self._send(answer)
            self.close_connection = True

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield state
        finally:
            server.shutdown()
