"""The TLS handshake of a connection, before HTTP begins on it.

uvicorn can listen with TLS itself. This class does it instead, because each new connection takes
the context of the moment (certificates are renewed), because a connection counts for
MAX_CONNECTIONS from its first byte on, and because a handshake has a limit on its time.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from services.common.core.connection import Connection
from services.common.core.open_files import ConnectionLimit
from services.common.core.tls import Tls
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger

# Round trips and one signature. An attack: a connection that never ends its handshake.
_HANDSHAKE_TIMEOUT_S = 10.0
# uvloop reads all that the kernel holds of a connection, up to 256 KiB, and with TLS it keeps twice
# that memory while the connection is open. An attack: many connections that send fast. Callers with
# a certificate get the kernel's own limit: a tensor of 519 KB takes 0.6 ms less.
_RECEIVE_BYTES = 64 * 1024
# The reasons that OpenSSL gives for the most frequent mistakes.
_MEANINGS = {
    "HTTP_REQUEST": "the caller speaks HTTP without TLS",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the caller has no certificate",
    "WRONG_VERSION_NUMBER": "the caller does not speak TLS",
}


@dataclass
class Handshakes:
    """What the handshakes of one listener share."""

    tls: Tls
    timeout_s: float
    """For a response to be read; for a handshake too, but at most 10 s."""
    limit: ConnectionLimit
    log_limit: LogLimit
    make_connection: Callable[..., Connection]
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def cancel(self) -> None:
        """End those that are in progress: the service stops."""
        for task in self.running:
            task.cancel()


class TlsEntrance(asyncio.Protocol):
    """Accepts one TCP connection, and makes it a Connection once the handshake is complete."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        handshakes: Handshakes,
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take what uvicorn gives to a protocol."""
        self._handshakes = handshakes
        self._connections = server_state.connections
        self._make_connection = partial(
            handshakes.make_connection,
            config=config,
            server_state=server_state,
            app_state=app_state,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, or close the connection if too many are open."""
        handshakes = self._handshakes
        if len(self._connections) + len(handshakes.running) >= handshakes.limit.connections:
            # Before the handshake: nothing is computed, and there is no way to tell the caller why.
            self._log(handshakes.limit.refusal)
        else:
            self._begin_handshake(transport.get_extra_info("socket").fileno())
        # uvloop's transports do not derive from asyncio's.
        cast("asyncio.Transport", transport).abort()

    def _begin_handshake(self, file: int) -> None:
        """Begin it on a second file of the socket; the transport of the first one ends.

        The loop would read from that transport before `start_tls` could take it over.
        """
        handshakes = self._handshakes
        try:
            connection = socket.socket(fileno=os.dup(file))
        except OSError as error:
            self._log(f"open files: {error.strerror}")
            return
        if not handshakes.tls.requires_client_certificate:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        task = asyncio.create_task(self._shake_hands(connection))
        handshakes.running.add(task)
        task.add_done_callback(handshakes.running.discard)

    async def _shake_hands(self, connection: socket.socket) -> None:
        handshakes = self._handshakes
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_connection,
                connection,
                ssl=handshakes.tls.server_context(),
                ssl_handshake_timeout=min(handshakes.timeout_s, _HANDSHAKE_TIMEOUT_S),
                # The time to read a response whose connection closes, as without TLS.
                ssl_shutdown_timeout=handshakes.timeout_s,
            )
        except OSError as error:
            handshakes.tls.count_handshake_failure()
            self._log(_describe(error))

    def _log(self, why: str) -> None:
        if self._handshakes.log_limit.passes("TLS connection refused", why):
            get_logger().info("TLS connection refused", why=why)


def _describe(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the caller's certificate: {error.verify_message}"
        case ssl.SSLError():
            reason = error.reason or "TLS failed"
            return _MEANINGS.get(reason, reason.lower().replace("_", " "))
        case ConnectionAbortedError():
            return "the handshake took too long"
        case _:
            return "the caller ended the connection during the handshake"
