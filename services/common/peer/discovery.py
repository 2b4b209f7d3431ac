"""Keeps the endpoints of a peer up to date: where they are, and whether they are well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus

from services.common.observe.logs import get_logger
from services.common.peer.addresses import Address, Origin
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.exchange import ConnectionFailed, Connections, Response

_Job = Callable[[], Awaitable[None]]

_PERIOD_S = 1.0
# One that is only starting gets its first request within so long of being ready.
_WELCOME_PERIOD_S = 0.25
_PROBE_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 2.0


class Discovery:
    """Asks DNS once a second, and more often those who are not well whether they are better."""

    def __init__(self, name: str, origins: Sequence[Origin]) -> None:
        """Ask nothing yet."""
        self.endpoints = Endpoints(time.monotonic)
        self._name = name
        self._origins = origins
        self._connections: dict[Address, Connections] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._looked = asyncio.Event()
        self._found: dict[Origin, list[Address]] = {}
        self._missing: set[Origin] = set()
        self._suspects: set[Endpoint] = set()

    def start(self) -> None:
        """Look at once and then once a second, until `close`."""
        if self._tasks:
            return
        # A task for each name, so that one look at it ends before the next begins, and one that
        # DNS is slow about holds up neither the others nor the probes.
        jobs: list[tuple[_Job, float]] = [
            (partial(self._look, origin), _PERIOD_S) for origin in self._origins
        ]
        jobs += [(self._welcome_all, _WELCOME_PERIOD_S), (self._suspect_all, _PERIOD_S)]
        self._tasks = [asyncio.create_task(self._repeat(job, period)) for job, period in jobs]

    async def look_once(self, timeout_s: float) -> None:
        """Return when an address is known or DNS has said that there is none.

        Raises TimeoutError if that takes longer than `timeout_s` seconds.
        """
        if self._looked.is_set():
            return
        self.start()
        async with asyncio.timeout(timeout_s):
            await self._looked.wait()

    def close(self) -> None:
        """Stop, and end all connections."""
        for task in self._tasks:
            task.cancel()
        for connections in self._connections.values():
            connections.close()

    def connections(self, endpoint: Endpoint) -> Connections:
        """Return the connections to an endpoint."""
        address = endpoint.address
        if address not in self._connections:
            self._connections[address] = Connections(address, _CONNECT_TIMEOUT_S)
        return self._connections[address]

    def forget_if_gone(self, endpoint: Endpoint) -> None:
        """End the connections to an endpoint that is gone, once its last request is over."""
        if endpoint.outstanding == 0 and endpoint.address not in self.endpoints.known:
            self._hang_up(endpoint)
            self._connections.pop(endpoint.address, None)

    async def is_ready(self, endpoint: Endpoint) -> bool:
        """Ask an endpoint whether it is ready; raises ConnectionFailed or TimeoutError."""
        response = await self._get(endpoint, "/readyz")
        return response.status_code == HTTPStatus.OK

    async def _get(self, endpoint: Endpoint, path: str) -> Response:
        head = f"GET {path} HTTP/1.1\r\nhost: {endpoint.address.host}\r\n\r\n".encode()
        try:
            return await self.connections(endpoint).request(head, (), _PROBE_TIMEOUT_S)
        finally:
            self.forget_if_gone(endpoint)

    def _hang_up(self, endpoint: Endpoint) -> None:
        connections = self._connections.get(endpoint.address)
        if connections is not None:
            connections.close()

    async def _repeat(self, job: _Job, period_s: float) -> None:
        while True:
            try:
                await job()
            except Exception:  # noqa: BLE001  # whatever it is, the watch must go on
                get_logger().exception("the watch over a peer stumbled", peer=self._name)
            await asyncio.sleep(period_s)

    async def _look(self, origin: Origin) -> None:
        try:
            self._found[origin] = await origin.resolve()
        except OSError as error:
            # Those that were there are still the best guess: DNS may be away, not they.
            if origin not in self._missing:
                get_logger().warning("no address", peer=self._name, why=str(error))
            self._missing.add(origin)
        else:
            self._missing.discard(origin)
        self._update()
        if self._found or len(self._missing) == len(self._origins):
            self._looked.set()

    def _update(self) -> None:
        addresses = {address for found in self._found.values() for address in found}
        if addresses != self.endpoints.known.keys():
            get_logger().info("endpoints", peer=self._name, addresses=len(addresses))
            for endpoint in self.endpoints.update(addresses):
                self.forget_if_gone(endpoint)

    async def _welcome_all(self) -> None:
        await asyncio.gather(*(self._welcome(endpoint) for endpoint in self.endpoints.to_probe()))

    async def _suspect_all(self) -> None:
        silent = self.endpoints.silent()
        # Twice means twice in a row.
        self._suspects.intersection_update(silent)
        await asyncio.gather(*(self._suspect(endpoint) for endpoint in silent))

    async def _welcome(self, endpoint: Endpoint) -> None:
        """Let an ejected endpoint come back if it is ready."""
        try:
            ready = await self.is_ready(endpoint)
        except (ConnectionFailed, TimeoutError):
            ready = False
        if ready:
            self.endpoints.answered(endpoint)
        else:
            self.endpoints.failed(endpoint)

    async def _suspect(self, endpoint: Endpoint) -> None:
        """Give up an endpoint that answers nothing at all, twice: frozen, or its node is gone.

        Whatever it answers, it is alive. It is not asked whether it is ready: that may take it
        long because of somebody behind it, who would then have both of them given up.
        """
        if self.endpoints.choose((endpoint,)) is None:
            # There is nobody who could do better.
            return
        try:
            await self._get(endpoint, "/livez")
        except (ConnectionFailed, TimeoutError):
            if endpoint not in self._suspects:
                self._suspects.add(endpoint)
                return
            get_logger().warning("given up", peer=self._name, requests=endpoint.outstanding)
            self.endpoints.failed(endpoint)
            # What waits for it fails now, and is tried elsewhere.
            self._hang_up(endpoint)
        else:
            # Slow, but alive: whoever asked it may go on waiting.
            endpoint.heard_at = time.monotonic()
        self._suspects.discard(endpoint)
