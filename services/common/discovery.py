"""Keeps the endpoints of a peer up to date: where they are, and whether they are well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from services.common.addresses import Address, Origin
from services.common.endpoints import Endpoint, Endpoints
from services.common.exchange import ConnectionFailed, Connections, Response
from services.common.logs import get_logger

_PERIOD_S = 1.0
_PROBE_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 2.0
_OK = 200


class Discovery:
    """Asks DNS once a second, and asks those who are not well whether they are better."""

    def __init__(self, name: str, origins: Sequence[Origin]) -> None:
        """Ask nothing yet."""
        self.endpoints = Endpoints(time.monotonic)
        self._name = name
        self._origins = origins
        self._connections: dict[Address, Connections] = {}
        self._task: asyncio.Task[None] | None = None
        self._first_look: asyncio.Task[None] | None = None
        self._found: dict[Origin, list[Address]] = {}
        self._missing: set[Origin] = set()
        self._suspects: set[Endpoint] = set()

    async def start(self) -> None:
        """Look for the first time, then once a second until `close`."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch())
        await self.look_once()

    async def look_once(self) -> None:
        """Return when DNS has been asked at least once."""
        if self._first_look is None:
            self._first_look = asyncio.create_task(self._resolve())
        await asyncio.shield(self._first_look)

    def close(self) -> None:
        """Stop, and end all connections."""
        if self._task is not None:
            self._task.cancel()
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
            connections = self._connections.pop(endpoint.address, None)
            if connections is not None:
                connections.close()

    async def probe(self, endpoint: Endpoint) -> Response:
        """Ask an endpoint whether it is ready; raises ConnectionFailed or TimeoutError."""
        head = f"GET /readyz HTTP/1.1\r\nhost: {endpoint.address.host}\r\n\r\n".encode()
        return await self.connections(endpoint).request(head, (), _PROBE_TIMEOUT_S)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await asyncio.gather(self._resolve(), self._probe_all())
            except Exception:  # noqa: BLE001  # whatever it is, the watch must go on
                get_logger().exception("the watch over a peer stumbled", peer=self._name)

    async def _resolve(self) -> None:
        for origin in self._origins:
            try:
                found = await origin.resolve()
            except OSError as error:
                # Those that were there are still the best guess: DNS may be away, not they.
                if origin not in self._missing:
                    get_logger().warning("no address", peer=self._name, why=str(error))
                self._missing.add(origin)
            else:
                self._missing.discard(origin)
                self._found[origin] = found
        addresses = [address for found in self._found.values() for address in found]
        if set(addresses) != self.endpoints.known.keys():
            get_logger().info("endpoints", peer=self._name, addresses=len(set(addresses)))
            for endpoint in self.endpoints.update(addresses):
                self.forget_if_gone(endpoint)

    async def _probe_all(self) -> None:
        await asyncio.gather(
            *(self._welcome(endpoint) for endpoint in self.endpoints.to_probe()),
            *(self._suspect(endpoint) for endpoint in self.endpoints.silent()),
        )

    async def _welcome(self, endpoint: Endpoint) -> None:
        """Let an ejected endpoint come back if it is ready."""
        try:
            response = await self.probe(endpoint)
        except (ConnectionFailed, TimeoutError):
            self.endpoints.failed(endpoint)
        else:
            if response.status_code == _OK:
                self.endpoints.answered(endpoint)
            else:
                self.endpoints.failed(endpoint)

    async def _suspect(self, endpoint: Endpoint) -> None:
        """Give up an endpoint that answers nothing at all, twice: frozen, or its node is gone."""
        if len(self.endpoints.known) < 2:
            # There is nobody who could do better.
            return
        try:
            await self.probe(endpoint)
        except (ConnectionFailed, TimeoutError):
            if endpoint not in self._suspects:
                self._suspects.add(endpoint)
                return
            get_logger().warning("given up", peer=self._name, requests=endpoint.outstanding)
            self.endpoints.failed(endpoint)
            # What waits for it fails now, and is tried elsewhere.
            self.connections(endpoint).close()
        else:
            # Slow, but alive: whoever asked it may go on waiting.
            endpoint.heard_at = time.monotonic()
        self._suspects.discard(endpoint)
