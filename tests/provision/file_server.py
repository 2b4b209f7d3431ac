"""Correct and faulty web servers for files, on loopback."""

from __future__ import annotations

import re
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass
class Site:
    """The files of a server, its recorded requests, and its faults."""

    files: dict[str, bytes]
    ranges: bool = True
    etag: str | None = '"one"'
    cut_after: Callable[[], int] | None = None
    """Number of body bytes after which the connection ends."""
    length_offset: int = 0
    """Added to the Content-Length."""
    chunked: bool = False
    """Send chunked responses, without a Content-Length."""
    statuses: list[int] = field(default_factory=list)
    """Statuses of the first responses, one for each request."""
    refusal: bytes = b""
    """Body of the responses with these statuses."""
    redirects: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of all responses."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """Requested paths, each with the requested range."""
    heads: list[Mapping[str, str]] = field(default_factory=list)
    """Headers of these requests."""
    sent: int = 0
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        site = self.site
        site.requests.append((self.path, self.headers.get("Range")))
        site.heads.append(dict(self.headers.items()))
        path, _, query = self.path.lstrip("/").partition("?")
        # APIs respond differently to different queries of one path.
        query_path = f"{path}?{query.partition('=')[0]}"
        path = query_path if query_path in site.files else path
        if site.statuses:
            self._refuse(site.statuses.pop(0))
        elif path in site.redirects:
            self.send_response(302)
            self.send_header("Location", site.redirects[path])
            self.send_header("Content-Length", "0")
            self._end()
        elif path not in site.files:
            self._refuse(404)
        else:
            self._send(site, site.files[path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send(self, site: Site, content: bytes) -> None:
        wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
        same = self.headers.get("If-Range") in (None, site.etag)
        start = int(wanted[1]) if wanted and site.ranges and same else 0
        body = content[start:]
        self.send_response(206 if start else 200)
        if site.etag is not None:
            self.send_header("ETag", site.etag)
        if start:
            extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", extent)
        if site.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body) + site.length_offset))
        self._end()
        if self.command == "HEAD":
            return
        if site.cut_after is not None:
            body = body[: site.cut_after()]
        self.wfile.write(body)
        site.sent += len(body)
        if len(body) < len(content) - start or site.length_offset > 0:
            self.close_connection = True

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(self.site.refusal)))
        self._end()
        self.wfile.write(self.site.refusal)

    def _end(self) -> None:
        for name, value in self.site.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing when a client disconnects, which some tests do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(site: Site, certificate: Path | None = None) -> Iterator[Site]:
    """Serve until the block ends; with the file of a certificate and its key, over TLS."""
    handler = type("Handler", (_Handler,), {"site": site})
    with _Server(("127.0.0.1", 0), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            site.url = f"https://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
