"""One connection: uvicorn's, with a limit on everything that a stranger can send before a request.

uvicorn bounds neither the size of a request's head nor the time in which it has to arrive, and
answers what it cannot parse in plain text.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from services.common.core.problems import to_response
from services.common.request.errors import (
    DeadlineExceeded,
    MalformedRequest,
    ServiceError,
    Unavailable,
)

# Request line and headers. Browsers send 1 KB, proxies with large cookies up to 16.
MAX_HEAD_BYTES = 64 * 1024
# What may still arrive of a body whose request has been answered, before the connection is closed
# instead of being kept for the next request.
_MAX_DISCARDED_BYTES = 32 * 1024 * 1024


class Connection(HttpToolsProtocol):
    """Refuses endless and dawdling heads, and connections beyond the limit."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        head_timeout_s: float,
        max_connections: int,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Give a head `head_timeout_s` seconds from its first byte, or from connecting."""
        super().__init__(config, server_state, app_state, _loop)
        self._head_timeout_s = head_timeout_s
        self._max_connections = max_connections
        self._in_head = True
        self._head_bytes = 0
        self._discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or refuse it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._max_connections:
            self._refuse(Unavailable(f"more than {self._max_connections} connections are open"))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the head that will not come any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head without an end is refused."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._expect_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_head_too_large())

    def on_headers_complete(self) -> None:
        """Start the request, unless its head came in one go and is too large all the same."""
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
        """Hand on a piece of the body, or throw it away if the request has its answer."""
        if self.transport.is_closing():
            return
        if self.cycle.response_complete:
            self._discarded_bytes += len(body)
            if self._discarded_bytes > _MAX_DISCARDED_BYTES:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Be ready for the next head."""
        self._in_head = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed."""
        self._refuse(MalformedRequest(f"this is not HTTP as we know it: {msg}"))

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def _give_up(self) -> None:
        self._refuse(DeadlineExceeded("the request's head did not arrive in time"))

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: ServiceError) -> None:
        """Answer with a problem outside of any request, and close."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        uid = uuid4().hex
        response = to_response(error, uid)
        status = HTTPStatus(response.status_code)
        head = [f"HTTP/1.1 {status.value} {status.phrase}", f"x-request-id: {uid}"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in response.raw_headers]
        head += ["connection: close", "", ""]
        self.transport.write("\r\n".join(head).encode("latin-1") + bytes(response.body))
        self.transport.close()


def _head_too_large() -> MalformedRequest:
    return MalformedRequest(f"the request's head exceeds the limit of {MAX_HEAD_BYTES:,} bytes")
