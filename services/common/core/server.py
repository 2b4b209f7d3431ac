"""Run an app until a signal, then drain.

The order of a shutdown: SIGTERM arrives, `/readyz` turns to 503 while everything else still works,
every answer from now on closes its connection so that the next request goes elsewhere, balancers
get `drain_delay_s` to notice, the listener closes, requests in flight finish, exit 0.
Stock uvicorn closes its listener first, so that balancers see refused connections instead.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import resource
import signal
import socket
import sys
import time
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from services.common.core.connection import Connection
from services.common.core.probes import Phase, Readiness
from services.common.core.settings import ServiceSettings
from services.common.observe.logs import get_logger

# How often a drain looks whether it has been told to hurry; uvicorn's own loop ticks as often.
_TICK_S = 0.1
# What a process has open besides connections: libraries, the model, the log.
_OTHER_FILES = 256


class DrainingServer(uvicorn.Server):
    """A uvicorn server that says not ready before it stops accepting."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, delay_s: float) -> None:
        """Drain for `delay_s` seconds after SIGTERM; an interrupt from the keyboard skips that."""
        super().__init__(config)
        self._readiness = readiness
        self._delay_s = delay_s
        self._hurry = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal; a second one, or Ctrl-C, ends the drain delay."""
        if sig == signal.SIGINT or self.should_exit:
            self._hurry = True
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the listener and log the address that it got."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            get_logger().info("listening", address=f"http://{host}:{port}", port=port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Turn readiness off, wait for balancers, then let uvicorn finish what is in flight."""
        self._readiness.phase = Phase.DRAINING
        get_logger().info("draining", delay_s=self._delay_s)
        until = time.monotonic() + self._delay_s
        # A signal handler sets the flag, so no event can be awaited here.
        while time.monotonic() < until and not self._hurry:  # noqa: ASYNC110
            await asyncio.sleep(_TICK_S)
        await super().shutdown(sockets)
        get_logger().info("stopped")


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT and return; ends the process with 1 if start-up fails."""
    _allow_connections(settings.max_connections)
    connection = functools.partial(
        Connection,
        head_timeout_s=settings.request_timeout_ms / 1000,
        max_connections=settings.max_connections,
    )
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", connection),
        loop="uvloop",
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Nothing here depends on the caller's address.
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        # Idle keep-alive connections outlive the usual 60 s of proxies in front, so that a proxy
        # never sends a request into a connection that is being closed here.
        timeout_keep_alive=75,
    )
    # After a clean drain uvicorn raises the signal again for the default handler, which would
    # turn exit status 0 into "killed by SIGTERM".
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    # What start-up has made stays for good: no collection, of which one would hold up the event
    # loop for 24 ms, needs to look at it again.
    gc.freeze()
    server = DrainingServer(config, app.state.readiness, settings.drain_delay_s)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve())
    if app.state.tracing is not None:
        app.state.tracing.close()
    if not server.started:
        sys.exit(1)


def _allow_connections(connections: int) -> None:
    """Raise the limit on open files, often 1024, to what the connections of both sides need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
