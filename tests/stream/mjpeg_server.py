"""A camera for tests that sends JPEG files in one endless HTTP response."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import simplejpeg

from elastic_yolo.lab.processes.stack import free_port
from tests.stream.rtsp_server import draw_time

_LOGIN = "Basic dmlld2VyOnAvdw=="


@dataclass
class MjpegCamera:
    """How the camera behaves; can be changed while it runs."""

    fps: float = 30
    states_length: bool = True
    needs_login: bool = False
    """As `viewer`, password `p/w`."""
    truncates: bool = False
    """Whether every other file lacks its end."""
    port: int = field(default_factory=free_port)
    connections: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/video?channel=1"

    @contextmanager
    def on(self) -> Iterator[None]:
        """Serve until the block ends, then break all connections."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera.needs_login and self.headers["Authorization"] != _LOGIN:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                camera.connections.append(self.connection)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):
                    self._send_frames()

            def _send_frames(self) -> None:
                number = 0
                while True:
                    number += 1
                    file = simplejpeg.encode_jpeg(draw_time(640, 360))
                    if camera.truncates and number % 2:
                        file = file[: len(file) // 2]
                    length = f"Content-Length: {len(file)}\r\n" * camera.states_length
                    head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n"
                    self.wfile.write(head.encode() + file + b"\r\n")
                    time.sleep(1 / camera.fps)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        with ThreadingHTTPServer(("127.0.0.1", self.port), Handler) as server:
            server.daemon_threads = True
            server.block_on_close = False
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
            try:
                yield
            finally:
                server.shutdown()
                for connection in self.connections:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                self.connections.clear()
