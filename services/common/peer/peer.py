"""Sends requests to the next service, with the caller's request id and within its deadline.

The service may have many endpoints. Each request goes to one of them, and is retried once, at
another one, if the first cannot be reached or is not ready. A picture is held while none responds.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ValidationError

from services.common.observe.telemetry import Metrics
from services.common.peer.addresses import Origin
from services.common.peer.discovery import OWN_PROBES, Discovery, ProbePaths
from services.common.peer.endpoints import Endpoint, Endpoints
from services.common.peer.exchange import (
    Buffer,
    ConnectionFailed,
    NotConnected,
    OutOfFiles,
    Request,
    Response,
)
from services.common.peer.hold import Hold, HoldFull
from services.common.peer.metrics import PeerMetrics
from services.common.peer.survey import Survey
from services.common.request.context import TIME_OVER, PeerFailure, RequestContext
from services.common.request.errors import DeadlineExceeded, RemoteProblem, Unavailable

M = TypeVar("M", bound=BaseModel)

# Errors that concern this service's caller too and keep their status. Others become Unavailable.
_FORWARDED = frozenset({400, 404, 413, 415, 422, 429, 503, 504})
# Statuses that show a fault of the endpoint rather than of the request.
_FAULTS = frozenset({500, 502, 503})
_MAX_READINESS_PROBES = 3
# How long one readiness probe runs alone. The kubelet waits a second for the whole check.
_PROBE_HEAD_START_S = 0.2
_READY_TIMEOUT_S = 1.0
_RETRIES_PER_REQUEST = 0.2
_MAX_SAVED_RETRIES = 100.0
# A picture that was sent so often, and never got a response, may be what ends the endpoints.
_MOST_LOST = 3
# Of a request's time: the rest is for the response that says that it was held in vain.
_HELD_PART = 0.9
# Requests that were held and are now under way: the first endpoint to be ready would refuse more
# than its queue and its memory hold, and other callers send theirs as well.
_MOST_RELEASED = 8


class _NoResponse(Exception):
    """No endpoint responded; `lost` is how many may have received the request."""

    def __init__(self, lost: int = 0) -> None:
        super().__init__(lost)
        self.lost = lost


@dataclass
class _Affinity:
    """Remembers which endpoint the last request went to."""

    endpoint: Endpoint | None = None


class RetryBudget:
    """Bounds retries, so that an outage causes no storm: a token bucket.

    Each request adds a fifth of a retry, up to 100; each retry takes one.
    """

    def __init__(self) -> None:
        """Start with a full budget."""
        self._tokens = _MAX_SAVED_RETRIES

    def deposit(self) -> None:
        """Count a request."""
        self._tokens = min(_MAX_SAVED_RETRIES, self._tokens + _RETRIES_PER_REQUEST)

    def withdraw(self) -> bool:
        """Take one retry from the budget; return False if less than one is left."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Peer:
    """The next service: balances requests over its endpoints, ejects those that fail, retries once.

    `name` is what error messages call it; they contain no addresses.
    """

    def __init__(
        self,
        name: str,
        urls: str,
        metrics: Metrics,
        tls_context: Callable[[], ssl.SSLContext] | None = None,
        probes: ProbePaths = OWN_PROBES,
        hold: Hold | None = None,
        fallback_urls: str | None = None,
    ) -> None:
        """Accept one URL, or several separated by commas; connections open with requests.

        `tls_context` returns the context for each new connection to an https:// URL: the
        certificate that it presents, and the CA that it trusts. By default, those of the system.
        `hold` keeps requests that may wait for an endpoint; without it, none does. Those of
        `fallback_urls` are used only while none of the endpoints of `urls` responds.
        """
        self.name = name
        origins = [Origin.parse(url) for url in urls.split(",")]
        if fallback_urls is not None:
            origins += [Origin.parse(url, is_fallback=True) for url in fallback_urls.split(",")]
        self._discovery = Discovery(name, origins, tls_context, probes)
        self._endpoints = self._discovery.endpoints
        self._budget = RetryBudget()
        self._hold = hold
        self._turns = asyncio.Semaphore(_MOST_RELEASED)
        self._metrics = PeerMetrics(metrics, name, self._endpoints, self._discovery.absence)
        self._discovery.on_ejection = self._metrics.ejections.inc
        self._affinity: _Affinity | None = None
        self.survey = Survey(self._discovery)
        """Asks each of its endpoints."""

    @property
    def endpoints(self) -> Endpoints:
        """Its endpoints, as they are known here."""
        return self._endpoints

    def start(self) -> None:
        """Start to resolve the URLs and to probe the endpoints, until `close`."""
        self._discovery.start()

    def close(self) -> None:
        """Abort all connections, and end the metrics."""
        self._discovery.close()
        self._metrics.remove()

    def with_affinity(self) -> Peer:
        """Return a view of this peer that sends all its requests to one endpoint.

        It is the endpoint that gets the first request; another one replaces it only if it is
        ejected or removed. For requests that depend on one another: during a rollout, endpoints
        may serve different models.
        """
        view = copy(self)
        view._affinity = _Affinity()  # noqa: SLF001  # a copy of this object
        return view

    async def send(
        self,
        context: RequestContext,
        method: str,
        path: str,
        *,
        content: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request and return the complete response, which has status 200.

        The buffers of `content` are written one after another, without joining them.

        Raises DeadlineExceeded, Unavailable (no connection, or it ended too early), RemoteProblem
        (an error of the next service that concerns the caller).
        """
        try:
            await self._discovery.wait_resolved(context.deadline.remaining_s())
        except TimeoutError:
            context.peer_failure = PeerFailure(self.name, "", "no address was found in time")
            raise DeadlineExceeded(f"the {self.name} service was not found in time") from None
        self._budget.deposit()
        target = f"{path}?{urlencode(params)}" if params else path
        request = Request(method, target, headers or {}, content)
        affinity = self._affinity or _Affinity()
        hold = self._hold if context.may_be_held else None
        try:
            if hold is None or hold.limits.longest_s == 0:
                return await self._send_now(context, request, affinity)
            return await self._send_or_hold(context, request, affinity, hold)
        except _NoResponse as error:
            raise self._unreachable() from error

    async def _send_or_hold(
        self, context: RequestContext, request: Request, affinity: _Affinity, hold: Hold
    ) -> Response:
        """Send a request; while no endpoint responds, wait for one."""
        lost = 0
        since = time.monotonic()
        self._discovery.doubt()
        while not self._discovery.absence.has_begun:
            try:
                return await self._send_now(context, request, affinity)
            except _NoResponse as error:
                # Unless an absence has begun now, others are not ejected yet.
                lost += error.lost
                if lost >= _MOST_LOST:
                    raise
                if error.lost:
                    # Until now an endpoint was at work on it; a vain attempt to connect is a wait.
                    since = time.monotonic()
        left_s = context.deadline.remaining_s() * _HELD_PART
        until = min(since + hold.limits.longest_s, time.monotonic() + left_s)
        while True:
            has_turn = await self._wait_for_turn(context, request, hold, until)
            try:
                return await self._send_now(context, request, affinity, lost)
            except _NoResponse as error:
                lost += error.lost
                if lost >= _MOST_LOST or not has_turn:
                    raise
            finally:
                if has_turn:
                    self._turns.release()

    async def _wait_for_turn(
        self, context: RequestContext, request: Request, hold: Hold, until: float
    ) -> bool:
        """Hold a request until an endpoint responds and one of the turns is free, and take it.

        Returns False after the last moment, without a turn, if an endpoint responds to probes but
        is not ready: some servers never are, and serve. Otherwise raises Unavailable then.
        """
        absence = self._discovery.absence
        # A request for metadata keeps the picture of its caller in memory.
        size = sum(len(buffer) for buffer in request.content) or context.body_bytes
        try:
            with hold.keep(size, self._metrics.count_hold), context.timings.measure(hold.phase):
                while True:
                    with hold.stop_clock():
                        async with asyncio.timeout(until - time.monotonic()):
                            await absence.wait()
                    async with asyncio.timeout(context.deadline.left_s * _HELD_PART):
                        await self._turns.acquire()
                    if not absence.has_begun:
                        return True
                    self._turns.release()
        except HoldFull as full:
            raise self._unreachable(f", and {full}") from None
        except TimeoutError:
            if self._endpoints.has_unready():
                return False
            raise self._unreachable() from None

    async def _send_now(
        self, context: RequestContext, request: Request, affinity: _Affinity, lost_before: int = 0
    ) -> Response:
        """Send a request to an endpoint, and a second time if that fails."""
        first = self._affine_endpoint(affinity) or self._choose_endpoint(context)
        affinity.endpoint = first
        lost = 0
        try:
            response = await self._send_traced(first, context, request, resend_count=0)
        except ConnectionFailed as error:
            lost += not isinstance(error, NotConnected)
            if lost_before + lost >= _MOST_LOST:
                raise self._no_response(lost) from error
            second = self._choose_for_retry(first, context, may_be_same=True)
            if second is None:
                raise self._no_response(lost) from error
        else:
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or _was_held(response):
                return self._check_status(response, context)
            second = self._choose_for_retry(first, context, may_be_same=False)
            if second is None:
                return self._check_status(response, context)
        self._metrics.retries.inc()
        affinity.endpoint = second
        try:
            response = await self._send_traced(second, context, request, resend_count=1)
        except ConnectionFailed as error:
            lost += not isinstance(error, NotConnected)
            raise self._no_response(lost) from error
        return self._check_status(response, context)

    async def check_ready(self) -> None:
        """Raise Unavailable unless one of up to three endpoints is ready."""
        with suppress(TimeoutError):
            await self._discovery.wait_resolved(_READY_TIMEOUT_S)
        results: list[bool | None] = []
        probes: set[asyncio.Task[bool | None]] = set()
        try:
            for endpoint in self._choose_for_probes():
                probes.add(asyncio.create_task(self._probe_readiness(endpoint)))
                done, probes = await asyncio.wait(
                    probes, timeout=_PROBE_HEAD_START_S, return_when=asyncio.FIRST_COMPLETED
                )
                results += [probe.result() for probe in done]
                if True in results:
                    return
            for probe in asyncio.as_completed(probes):
                results.append(await probe)
                if True in results:
                    return
        finally:
            for task in probes:
                task.cancel()
        if False in results:
            raise Unavailable(f"the {self.name} service is not ready", self._retry_after_s())
        raise self._unreachable()

    def read_json(self, response: Response) -> Any:
        """Return the parsed body; raises Unavailable if it is not JSON."""
        try:
            return orjson.loads(response.content)
        except ValueError as error:
            raise self.invalid_response() from error

    def read_model(self, kind: type[M], response: Response) -> M:
        """Return the body as a pydantic model; raises Unavailable if it does not match."""
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise self.invalid_response() from error

    def invalid_response(self) -> Unavailable:
        """Build the error for a response that violates the protocol between the services."""
        return Unavailable(f"the {self.name} service returned an invalid response")

    def _no_response(self, lost: int = 0) -> _NoResponse:
        if not self._endpoints.has_serving():
            self._discovery.begin_absence()
        return _NoResponse(lost)

    def _unreachable(self, more: str = "") -> Unavailable:
        why = f"the {self.name} service cannot be reached{more}"
        return Unavailable(why, self._retry_after_s())

    def _retry_after_s(self) -> float:
        """Return when an endpoint may respond again: as long as absences last, or ejections."""
        if self._discovery.absence.has_begun:
            return self._discovery.absence.retry_after_s()
        return self._endpoints.seconds_to_probe()

    def _choose_for_probes(self) -> list[Endpoint]:
        chosen: list[Endpoint] = []
        while len(chosen) < _MAX_READINESS_PROBES:
            endpoint = self._endpoints.choose(chosen)
            if endpoint is None:
                break
            chosen.append(endpoint)
        return chosen

    async def _probe_readiness(self, endpoint: Endpoint) -> bool | None:
        """Return whether an endpoint is ready, or None if it does not respond."""
        try:
            ready = await self._discovery.probe_readiness(endpoint)
        except (ConnectionFailed, TimeoutError):
            return None
        if ready:
            self._endpoints.record_success(endpoint)
        return ready

    def _choose_endpoint(self, context: RequestContext) -> Endpoint:
        endpoint = self._endpoints.choose()
        if endpoint is None:
            context.peer_failure = PeerFailure(self.name, "", "no address is known")
            raise self._no_response()
        return endpoint

    def _affine_endpoint(self, affinity: _Affinity) -> Endpoint | None:
        endpoint = affinity.endpoint
        if endpoint is None or self._endpoints.known.get(endpoint.address) is not endpoint:
            return None
        # A draining endpoint still serves, and the metadata it just sent still applies.
        return None if self._endpoints.state(endpoint) == "ejected" else endpoint

    def _choose_for_retry(
        self, first: Endpoint, context: RequestContext, *, may_be_same: bool
    ) -> Endpoint | None:
        """Return the endpoint for a retry, or None if there is none, no time, or no budget."""
        second = self._endpoints.choose((first,), prefer_proven=True, may_fall_back=may_be_same)
        if second is None and may_be_same and first.address in self._endpoints.known:
            # One address may be a proxy of many endpoints: a new connection may reach another.
            second = first
        if second is None or context.deadline.left_s <= 0 or not self._budget.withdraw():
            return None
        return second

    async def _send_traced(
        self, endpoint: Endpoint, context: RequestContext, request: Request, *, resend_count: int
    ) -> Response:
        if context.trace is None:
            return await self._send_to_endpoint(endpoint, context, request)
        address = endpoint.address
        url = f"{address.scheme}://{address.host}{request.target}"
        process = (address.ip, address.port)
        with context.trace.attempt(
            request.method, url, process, resend_count=resend_count
        ) as attempt:
            traced = replace(request, headers={**request.headers, **attempt.headers})
            response = await self._send_to_endpoint(endpoint, context, traced)
            attempt.status_code = response.status_code
            return response

    async def _send_to_endpoint(
        self, endpoint: Endpoint, context: RequestContext, request: Request
    ) -> Response:
        """Send one attempt, and record what its result shows about the endpoint."""
        timeout_s = context.deadline.remaining_s()
        headers = {**context.to_headers(), **request.headers}
        pool = self._discovery.pool(endpoint)
        self._endpoints.request_started(endpoint)
        try:
            response = await pool.send_request(replace(request, headers=headers), timeout_s)
        except TimeoutError:
            self._note_failure(context, endpoint, "no response in time")
            raise DeadlineExceeded(
                f"the {self.name} service did not answer in time: {TIME_OVER}"
            ) from None
        except OutOfFiles as error:
            self._note_failure(context, endpoint, str(error))
            self._discovery.close_idle()
            raise Unavailable(
                "open files: this service can open no more connections: try later"
            ) from error
        except ConnectionFailed as error:
            self._note_failure(context, endpoint, str(error))
            self._record_failure(endpoint, str(error))
            raise
        finally:
            self._endpoints.request_ended(endpoint)
            self._discovery.release(endpoint)
        if response.status_code != HTTPStatus.OK:
            self._note_failure(context, endpoint, f"status {response.status_code}")
        if response.status_code in _FAULTS:
            self._record_failure(endpoint, f"status {response.status_code}")
        else:
            draining = response.headers.get("connection", "").lower() == "close"
            self._endpoints.record_success(endpoint, draining=draining)
        return response

    def _note_failure(self, context: RequestContext, endpoint: Endpoint, why: str) -> None:
        context.peer_failure = PeerFailure(self.name, str(endpoint.address), why)

    def _record_failure(self, endpoint: Endpoint, why: str) -> None:
        self._metrics.failures.inc()
        self._endpoints.record_failure(endpoint, why)

    def _check_status(self, response: Response, context: RequestContext) -> Response:
        """Return a response with status 200; raise the error that any other status stands for."""
        context.timings.absorb(response.headers.get("server-timing"))
        if response.status_code == HTTPStatus.OK:
            return response
        if response.status_code not in _FORWARDED:
            raise Unavailable(f"the {self.name} service failed", self._retry_after_s())
        try:
            problem = orjson.loads(response.content)
            # The Open Inference Protocol knows `error` alone.
            title = str(problem.get("title", HTTPStatus(response.status_code).phrase))
            detail = str(problem["detail"] if "detail" in problem else problem["error"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise self.invalid_response() from None
        retry_after = response.headers.get("retry-after")
        raise RemoteProblem(response.status_code, title, detail, retry_after)


def _was_held(response: Response) -> bool:
    """Return whether the service held the request in vain: another endpoint would do the same."""
    return "_hold;dur=" in response.headers.get("server-timing", "")
