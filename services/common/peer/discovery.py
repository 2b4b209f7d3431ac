"""Keeps a peer's endpoints up to date: resolves its host names and probes unhealthy endpoints."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus

from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.peer.addresses import Address, Origin
from services.common.peer.endpoints import Endpoint, Endpoints, State
from services.common.peer.exchange import ConnectionFailed, ConnectionPool, Request, Response
from services.common.peer.hold import Absence

_Job = Callable[[], Awaitable[None]]

_RESOLVE_PERIOD_S = 1.0
_LIVENESS_PERIOD_S = 1.0
# Short, because an endpoint that is still starting gets its first request after this probe.
_READINESS_PERIOD_S = 0.25
# Of all these, while requests are held until an endpoint is ready.
_AWAITED_PERIOD_S = 0.1
_PROBE_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 2.0
# A resolver's word that a name has no address; other errors are its own.
_NO_ADDRESS = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
# Of a log line: characters of a reason, and addresses of endpoints.
_MAX_TEXT = 300
_MAX_NAMED = 10


@dataclass(frozen=True)
class ProbePaths:
    """Where a peer's endpoints respond 200 if they are ready, and in any way if they are alive."""

    readiness: str = "/readyz"
    liveness: str = "/livez"


OWN_PROBES = ProbePaths()


class Discovery:
    """The background tasks of one peer, and the connection pool of each of its endpoints."""

    def __init__(
        self,
        name: str,
        origins: Sequence[Origin],
        tls_context: Callable[[], ssl.SSLContext] | None = None,
        probes: ProbePaths = OWN_PROBES,
    ) -> None:
        """Nothing is resolved before `start`.

        `tls_context` returns what a new connection with TLS gets; by default, the system's CAs.
        """
        # Once for all connections: reading the system's CAs takes many milliseconds.
        self._tls_context = tls_context or cache(ssl.create_default_context)
        self.endpoints = Endpoints(
            time.monotonic, on_change=self._note_change, on_response=self._end_absence
        )
        self.absence = Absence()
        self.on_ejection: Callable[[], None] = lambda: None
        """Called when an endpoint is ejected: by a failed request or by failed probes."""
        self._log_limit = LogLimit()
        self._name = name
        self._origins = origins
        self._probes = probes
        self._pools: dict[Address, ConnectionPool] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_resolved = asyncio.Event()
        self._addresses: dict[Origin, list[Address]] = {}
        self._unresolved: set[Origin] = set()
        self._gone_at: dict[Origin, float] = {}
        """Since when DNS has said that a name has no address; fallbacks do not count."""
        self._missed_probe: set[Endpoint] = set()
        """Silent endpoints that did not respond to their last liveness probe."""
        self._probing: dict[Endpoint, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start resolving and probing, until `close`."""
        if self._tasks:
            return
        # One task per name: lookups of one name never overlap, and a slow one delays neither the
        # other names nor the probes.
        jobs: list[tuple[_Job, float]] = [
            (partial(self._resolve, origin), _RESOLVE_PERIOD_S) for origin in self._origins
        ]
        jobs += [
            (self._start_probes, _READINESS_PERIOD_S),
            (self._probe_silent, _LIVENESS_PERIOD_S),
        ]
        self._tasks = [asyncio.create_task(self._repeat(job, period)) for job, period in jobs]

    async def wait_resolved(self, timeout_s: float) -> None:
        """Return when the first address is known, or when no name resolves.

        Raises TimeoutError after `timeout_s` seconds.
        """
        if self._is_resolved.is_set():
            return
        self.start()
        async with asyncio.timeout(timeout_s):
            await self._is_resolved.wait()

    def close(self) -> None:
        """Stop, and abort all connections."""
        for task in (*self._tasks, *self._probing.values()):
            task.cancel()
        for pool in self._pools.values():
            pool.close()

    def pool(self, endpoint: Endpoint) -> ConnectionPool:
        """Return the connections to an endpoint."""
        address = endpoint.address
        if address not in self._pools:
            self._pools[address] = ConnectionPool(address, _CONNECT_TIMEOUT_S, self._tls_context)
        return self._pools[address]

    def close_idle(self) -> None:
        """Close the connections that no request uses, so that this process may open others."""
        for pool in self._pools.values():
            pool.close_idle()

    def release(self, endpoint: Endpoint) -> None:
        """Close the connections to an endpoint that was removed, after the last use of them."""
        address = endpoint.address
        pool = self._pools.get(address)
        if pool is not None and pool.requests == 0 and address not in self.endpoints.known:
            pool.close()
            del self._pools[address]

    async def probe_readiness(self, endpoint: Endpoint) -> bool:
        """Return whether an endpoint is ready; raises ConnectionFailed or TimeoutError."""
        response = await self._probe(endpoint, self._probes.readiness)
        return response.status_code == HTTPStatus.OK

    async def exchange(self, endpoint: Endpoint, request: Request, timeout_s: float) -> Response:
        """Send a request that says nothing about an endpoint's health.

        Raises ConnectionFailed and TimeoutError.
        """
        try:
            return await self.pool(endpoint).send_request(request, timeout_s)
        finally:
            self.release(endpoint)

    async def _probe(self, endpoint: Endpoint, path: str) -> Response:
        return await self.exchange(endpoint, Request("GET", path), _PROBE_TIMEOUT_S)

    def _abort_requests(self, endpoint: Endpoint) -> None:
        pool = self._pools.get(endpoint.address)
        if pool is not None:
            pool.close()

    async def _repeat(self, job: _Job, period_s: float) -> None:
        while True:
            try:
                await job()
            except Exception:  # noqa: BLE001  # no error may end the watcher
                get_logger().exception("peer watcher failed", peer=self._name)
            if self.absence.awaited.is_set():
                await asyncio.sleep(_AWAITED_PERIOD_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await self.absence.awaited.wait()

    async def _resolve(self, origin: Origin) -> None:
        try:
            self._addresses[origin] = await origin.resolve()
        except OSError as error:
            # The last addresses stay in use: DNS may have failed, not the endpoints.
            if isinstance(error, socket.gaierror) and error.errno in _NO_ADDRESS:
                if origin.is_fallback:
                    self._addresses.pop(origin, None)
                else:
                    self._gone_at.setdefault(origin, time.monotonic())
            if origin not in self._unresolved:
                get_logger().warning(
                    "name not resolved", peer=self._name, name=origin.name, why=str(error)
                )
            self._unresolved.add(origin)
        else:
            if origin in self._unresolved:
                get_logger().info("name resolved again", peer=self._name, name=origin.name)
            self._unresolved.discard(origin)
            self._gone_at.pop(origin, None)
        self._update_endpoints()
        if self._addresses or len(self._unresolved) == len(self._origins):
            self._is_resolved.set()

    def _note_change(self, endpoint: Endpoint, state: State, why: str) -> None:
        if state == "ejected":
            self.on_ejection()
        where = str(endpoint.address)
        if not self._log_limit.passes("endpoint", self._name, where, state):
            return
        log = get_logger().warning if state == "ejected" else get_logger().info
        log(
            f"endpoint {state}",
            peer=self._name,
            endpoint=where,
            why=why[:_MAX_TEXT],
            requests=endpoint.outstanding,
        )

    def _update_endpoints(self) -> None:
        addresses = {address for found in self._addresses.values() for address in found}
        if addresses != self.endpoints.known.keys():
            known = self.endpoints.known.keys()
            get_logger().info(
                "endpoints changed",
                peer=self._name,
                endpoints=len(addresses),
                added=_name_some(addresses - known),
                removed=_name_some(known - addresses),
            )
            for endpoint in self.endpoints.update(addresses):
                self.release(endpoint)

    async def _start_probes(self) -> None:
        """Probe ejected endpoints side by side: none waits for one that does not respond."""
        for endpoint in self.endpoints.due_for_probe(absent=self.absence.has_begun):
            if endpoint not in self._probing:
                probe = asyncio.create_task(self._end_ejection_if_ready(endpoint))
                self._probing[endpoint] = probe

    async def _end_ejection_if_ready(self, endpoint: Endpoint) -> None:
        try:
            ready = await self.probe_readiness(endpoint)
            endpoint.is_unready = not ready
        except (ConnectionFailed, TimeoutError):
            ready = endpoint.is_unready = False
        finally:
            del self._probing[endpoint]
        if ready:
            self.endpoints.record_ready(endpoint)
        else:
            self.endpoints.record_failure(endpoint)

    def doubt(self) -> None:
        """Eject all endpoints if DNS has no address of them any more, and none has responded since.

        Their processes are most likely gone. A request would find that out only after seconds, if
        nothing is left at their addresses; a probe readmits those that are there after all.
        """
        if not self._gone_at:
            return
        names = sum(not origin.is_fallback for origin in self._origins)
        if len(self._gone_at) < names:
            return
        if self.endpoints.has_responded_since(max(self._gone_at.values())):
            return
        for endpoint in self.endpoints.known.values():
            self.endpoints.record_failure(endpoint, "its name has no address any more")
        self.begin_absence()

    def begin_absence(self) -> None:
        """Note that no endpoint responds."""
        if self.absence.begin() and self._log_limit.passes("absence", self._name):
            get_logger().warning("no endpoint responds", peer=self._name)

    def _end_absence(self) -> None:
        """Note that an endpoint responds: held requests go on."""
        absent_s = self.absence.end()
        if absent_s is not None and self._log_limit.passes("presence", self._name):
            get_logger().info(
                "an endpoint responds again", peer=self._name, absent_s=round(absent_s, 3)
            )

    async def _probe_silent(self) -> None:
        silent = self.endpoints.silent()
        # Only two missed probes in a row eject an endpoint.
        self._missed_probe.intersection_update(silent)
        await asyncio.gather(*(self._eject_if_dead(endpoint) for endpoint in silent))

    async def _eject_if_dead(self, endpoint: Endpoint) -> None:
        """Eject an endpoint after two missed liveness probes: frozen, or its node is down.

        Any response shows that it is alive. It is not the readiness probe: that depends on the
        services behind the endpoint, and one frozen process there would get this endpoint ejected.
        """
        if self.endpoints.choose((endpoint,), may_fall_back=False) is None:
            # There is no other endpoint to fail over to; a fallback leads to the same processes.
            return
        try:
            await self._probe(endpoint, self._probes.liveness)
        except (ConnectionFailed, TimeoutError):
            if endpoint not in self._missed_probe:
                self._missed_probe.add(endpoint)
                return
            self.endpoints.record_failure(endpoint, "no response to two liveness probes")
            # Its requests fail now and are retried at another endpoint.
            self._abort_requests(endpoint)
        else:
            # Slow, but alive: its requests keep waiting.
            self.endpoints.record_alive(endpoint)
        self._missed_probe.discard(endpoint)


def _name_some(addresses: Collection[Address]) -> str:
    """Return the addresses as text, the first ten of many."""
    named = sorted(map(str, addresses))
    more = len(named) - _MAX_NAMED
    return ", ".join(named[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
