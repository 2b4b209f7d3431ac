"""Run an app until a signal, then drain.

The order of a shutdown: SIGTERM arrives; `/readyz` returns 503 while all other routes still work;
every response closes its connection, so that the next request goes to another pod; load balancers
have `drain_delay_s` seconds to notice; the listener closes; requests in progress finish; exit 0.
Stock uvicorn closes its listener first, and load balancers see refused connections.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from elastic_yolo.freed_memory import keep_little_freed_memory
from services.common.core.connection import Connection
from services.common.core.open_files import ConnectionLimit, fit_connections
from services.common.core.probes import ON_METRICS_PORT, Phase, Readiness
from services.common.core.settings import ServiceSettings, warn_of_removed_variables
from services.common.core.tls_entrance import Handshakes, TlsEntrance
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger

# Period in which a drain checks for a second signal; that of uvicorn's own loop.
_TICK_S = 0.1
# Connections that are accepted in one turn of the event loop.
_ACCEPTED_PER_TURN = 8
# Connections to METRICS_PORT beyond MAX_CONNECTIONS: the kubelet's, and Prometheus'.
_METRICS_CONNECTIONS = 16


@dataclass(frozen=True)
class MetricsListener:
    """A second port without TLS, for probes and metrics."""

    port: int
    make_connection: Callable[..., Connection]


class DrainingServer(uvicorn.Server):
    """A uvicorn server that becomes not ready before it stops accepting connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        readiness: Readiness,
        delay_s: float,
        *,
        handshakes: Handshakes | None = None,
        metrics: MetricsListener | None = None,
    ) -> None:
        """Wait `delay_s` seconds between SIGTERM and closing the listener; Ctrl-C skips that."""
        super().__init__(config)
        self._handshakes = handshakes
        self._metrics = metrics
        self._readiness = readiness
        self._delay_s = delay_s
        self._hurry = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the drain; a second signal, or Ctrl-C, ends the delay."""
        if sig == signal.SIGINT or self.should_exit:
            self._hurry = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the listener and log its address."""
        await super().startup(sockets)
        if self.started:
            await self._accept_faster()
            if self._metrics is not None:
                await self._listen_for_metrics(self._metrics)
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"{'https' if self._handshakes else 'http'}://{host}:{port}"
            get_logger().info("listening", address=address, port=port)

    async def _listen_for_metrics(self, metrics: MetricsListener) -> None:
        connect = functools.partial(
            metrics.make_connection,
            config=self.config,
            server_state=self.server_state,
            app_state={**self.lifespan.state, ON_METRICS_PORT: True},
        )
        try:
            server = await asyncio.get_running_loop().create_server(
                connect, self.config.host, metrics.port
            )
        except OSError as error:
            await self.lifespan.shutdown()
            where = f"{self.config.host}, port {metrics.port}"
            reason = os.strerror(error.errno or 0)
            raise SystemExit(f"METRICS_PORT: cannot listen on {where}: {reason}") from error
        self.servers.append(server)
        port = server.sockets[0].getsockname()[1]
        get_logger().info("listening for metrics", port=port)

    async def _accept_faster(self) -> None:
        """Watch the listener several times: uvloop accepts one connection for each and turn.

        An attack: a hundred connections, each opened again when it is refused. A new one would wait
        behind them for a hundred turns of the event loop.
        """
        connect = functools.partial(
            cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for listener in [one for server in self.servers for one in server.sockets]:
            for _ in range(_ACCEPTED_PER_TURN - 1):
                again = socket.socket(fileno=os.dup(listener.fileno()))
                server = await asyncio.get_running_loop().create_server(
                    connect, sock=again, backlog=self.config.backlog
                )
                self.servers.append(server)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Become not ready, wait for load balancers, then let uvicorn finish requests."""
        grace_s = self.config.timeout_graceful_shutdown or 0
        self._readiness.begin_drain(self._delay_s + grace_s)
        get_logger().info("draining", delay_s=self._delay_s)
        until = time.monotonic() + self._delay_s
        # A signal handler sets the flag, so no event can be awaited here.
        while time.monotonic() < until and not self._hurry:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)
        if self._handshakes is not None:
            self._handshakes.cancel()
        self._readiness.begin(Phase.STOPPING)
        await super().shutdown(sockets)
        get_logger().info("stopped")


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT and return; ends the process with 1 if start-up fails."""
    warn_of_removed_variables(type(settings))
    keep_little_freed_memory()
    limit = fit_connections(settings)
    app.state.connection_limit = limit
    server = build_server(app, settings, limit)
    # After a clean drain uvicorn raises the signal again for the handler of before. The default one
    # would make the exit status "killed by SIGTERM" instead of 0; a handler that does nothing would
    # lose a signal that arrives before uvicorn sets its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    # All objects of the start live as long as the process. Without them a full garbage collection,
    # which would block the event loop for 24 ms, has little to traverse.
    gc.freeze()
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve())
    if app.state.tracing is not None:
        app.state.tracing.close()
    if not server.started:
        sys.exit(1)


def build_server(app: FastAPI, settings: ServiceSettings, limit: ConnectionLimit) -> DrainingServer:
    """Return the server for an app; it has not opened its socket."""
    head_timeout_s = settings.request_timeout_ms / 1000
    log_limit = LogLimit()
    connection = functools.partial(
        Connection, head_timeout_s=head_timeout_s, limit=limit, log_limit=log_limit
    )
    handshakes = app.state.tls and Handshakes(
        app.state.tls, head_timeout_s, limit, log_limit, connection
    )
    entrance = functools.partial(TlsEntrance, handshakes=handshakes)
    metrics = None
    if settings.metrics_port is not None:
        # Probes are answered also if callers have opened all the connections that they may.
        more = replace(limit, connections=limit.connections + _METRICS_CONNECTIONS)
        metrics = MetricsListener(settings.metrics_port, functools.partial(connection, limit=more))
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", entrance if handshakes else connection),
        ws="none",
        loop="uvloop",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # A header of the caller's does not change its address.
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        # Longer than the usual 60 s of proxies in front: the proxy closes idle connections first,
        # and never sends a request into one that closes here.
        timeout_keep_alive=75,
    )
    return DrainingServer(
        config, app.state.readiness, settings.drain_delay_s, handshakes=handshakes, metrics=metrics
    )
