"""One HTTP connection: uvicorn's, with limits on what a caller can send before there is a request.

uvicorn limits neither the size of a request's head nor the time until it is complete, and answers
malformed requests in plain text. This subclass overrides methods and reads attributes that uvicorn
does not document: pyproject.toml allows one minor version of it, and test_uvicorn.py names what
another version has changed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from services.common.core.open_files import ConnectionLimit
from services.common.core.problems import problem_reason, problem_response
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.request.errors import (
    DeadlineExceeded,
    MalformedRequest,
    ServiceError,
    Unavailable,
)

# Request line and headers. Browsers send 1 KB, proxies with large cookies up to 16.
MAX_HEAD_BYTES = 64 * 1024
# The part of a body that may still arrive after the response. Beyond it the connection is closed
# instead of being kept for the next request.
_MAX_DISCARDED_BYTES = 32 * 1024 * 1024


class Connection(HttpToolsProtocol):
    """Refuses heads that are too large or too slow, and connections beyond the limit."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        head_timeout_s: float,
        limit: ConnectionLimit,
        log_limit: LogLimit,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Allow `head_timeout_s` seconds for a head, from connecting or from its first byte."""
        super().__init__(config, server_state, app_state, _loop)
        self._head_timeout_s = head_timeout_s
        self._limit = limit
        self._log_limit = log_limit
        self._in_head = True
        self._head_bytes = 0
        self._discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or refuse it if too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self._limit.connections:
            self._refuse(Unavailable(self._limit.refusal))
        else:
            self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer of a head that cannot arrive any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the data; refuse a head that exceeds the limit before it ends."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._start_timer()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_head_too_large())

    def on_headers_complete(self) -> None:
        """Start the request, unless its head arrived in one piece and exceeds the limit."""
        self._stop_timer()
        self._in_head = False
        self._head_bytes = 0
        self._discarded_bytes = 0
        size = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        if size > MAX_HEAD_BYTES:
            self._refuse(_head_too_large())
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body, or discard it if the response is complete."""
        if self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._in_head = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """Refuse what the parser does not accept."""
        self._refuse(MalformedRequest("malformed HTTP request"))

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._refuse_late_head)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_late_head(self) -> None:
        self._refuse(
            DeadlineExceeded(f"the request's head did not arrive in {self._head_timeout_s:g} s")
        )

    def _refuse(self, error: ServiceError) -> None:
        """Write a problem document without a request, and close the connection."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        uid = uuid4().hex
        response = problem_response(error, uid)
        reason = problem_reason(error)
        if self._log_limit.passes("connection refused", reason):
            get_logger().info("connection refused", reason=reason, detail=str(error), uid=uid)
        status = HTTPStatus(response.status_code)
        head = [f"HTTP/1.1 {status.value} {status.phrase}", f"x-request-id: {uid}"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
        head += ["connection: close", "", ""]
        self.transport.write("\r\n".join(head).encode("latin-1") + bytes(response.body))
        self.transport.close()


def _head_too_large() -> MalformedRequest:
    return MalformedRequest(f"the request's head exceeds the limit of {MAX_HEAD_BYTES:,} bytes")
