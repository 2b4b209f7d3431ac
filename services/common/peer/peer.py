"""Ask another service, within the caller's time and with the caller's identity.

The service may be many processes: each request goes to one of them, and once more to another if the
first one cannot be reached or is not ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

import orjson
from pydantic import BaseModel, ValidationError

from services.common.observe.telemetry import Metrics
from services.common.peer.addresses import Origin
from services.common.peer.discovery import Discovery
from services.common.peer.endpoints import Endpoint
from services.common.peer.exchange import Buffer, ConnectionFailed, Response
from services.common.peer.metrics import PeerMetrics
from services.common.peer.retry_budget import RetryBudget
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded, RemoteProblem, Unavailable

M = TypeVar("M", bound=BaseModel)

# Statuses whose meaning holds for the caller of the caller as well; the rest is our own failure.
_PASSED_ON = frozenset({400, 404, 413, 415, 422, 429, 503, 504})
# Answers that show a fault of the process and not of the request.
_FAULTS = frozenset({500, 502, 503})
_MAX_PROBED = 3
# How long one of them may take before the next is asked as well; who asks us waits a second.
_PROBE_HEAD_START_S = 0.2
_READY_TIMEOUT_S = 1.0


@dataclass
class Affinity:
    """Requests that had better go to one process, whichever gets the first of them.

    Processes may differ for a while in what they serve.
    """

    endpoint: Endpoint | None = None


class Peer:
    """A service behind this one. `name` is what errors call it, so that no address leaks."""

    def __init__(self, name: str, urls: str, metrics: Metrics) -> None:
        """Take one URL, or several with commas between them; nothing is sent yet."""
        self.name = name
        self._discovery = Discovery(name, [Origin.parse(url) for url in urls.split(",")])
        self._endpoints = self._discovery.endpoints
        self._budget = RetryBudget()
        self._metrics = PeerMetrics(metrics, name, self._endpoints)

    def start(self) -> None:
        """Find the endpoints, and keep up with them until `close`."""
        self._discovery.start()

    def close(self) -> None:
        """Close all connections."""
        self._discovery.close()

    async def send(
        self,
        context: RequestContext,
        method: str,
        path: str,
        *,
        content: Sequence[Buffer] = (),
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        affinity: Affinity | None = None,
    ) -> Response:
        """Send a request and return the complete answer, which has status 200.

        `content` is sent piece by piece, as it lies in memory. With an `affinity` it goes where the
        last one with the same went, unless that process is not well.

        Raises DeadlineExceeded, Unavailable (no connection, or it broke), RemoteProblem (the peer's
        own problem, where it concerns the caller).
        """
        try:
            await self._discovery.look_once(context.deadline.remaining_s())
        except TimeoutError:
            raise DeadlineExceeded(f"the {self.name} service was not found in time") from None
        self._budget.pay_in()
        target = f"{path}?{urlencode(params)}" if params else path
        affinity = affinity or Affinity()
        first = self._follow(affinity) or self._choose(())
        affinity.endpoint = first
        try:
            response = await self._ask(first, context, method, target, content, headers or {}, 0)
        except ConnectionFailed as error:
            second = self._second_chance(first, context, at_same=True)
            if second is None:
                raise self._unreachable() from error
        else:
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                return self._accept(response, context)
            second = self._second_chance(first, context, at_same=False)
            if second is None:
                return self._accept(response, context)
        self._metrics.retries.inc()
        affinity.endpoint = second
        try:
            response = await self._ask(second, context, method, target, content, headers or {}, 1)
        except ConnectionFailed as error:
            raise self._unreachable() from error
        return self._accept(response, context)

    async def check_ready(self) -> None:
        """Raise Unavailable unless somebody of the peer says that it is ready."""
        with suppress(TimeoutError):
            await self._discovery.look_once(_READY_TIMEOUT_S)
        found: list[bool | None] = []
        asking: set[asyncio.Task[bool | None]] = set()
        try:
            for endpoint in self._some():
                asking.add(asyncio.create_task(self._is_ready(endpoint)))
                done, asking = await asyncio.wait(
                    asking, timeout=_PROBE_HEAD_START_S, return_when=asyncio.FIRST_COMPLETED
                )
                found += [task.result() for task in done]
                if True in found:
                    return
            for answer in asyncio.as_completed(asking):
                found.append(await answer)
                if True in found:
                    return
        finally:
            for task in asking:
                task.cancel()
        if False in found:
            raise Unavailable(f"the {self.name} service is not ready")
        raise self._unreachable()

    def read_json(self, response: Response) -> Any:
        """Return the parsed body; raises Unavailable if it is no JSON."""
        try:
            return orjson.loads(response.content)
        except ValueError as error:
            raise self.nonsense() from error

    def read_model(self, kind: type[M], response: Response) -> M:
        """Return the body as a pydantic model; raises Unavailable if it is none."""
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise self.nonsense() from error

    def nonsense(self) -> Unavailable:
        """Build the error for an answer that breaks the agreement between the services."""
        return Unavailable(f"the {self.name} service gave an answer that makes no sense")

    def _unreachable(self) -> Unavailable:
        return Unavailable(f"the {self.name} service cannot be reached")

    def _some(self) -> list[Endpoint]:
        some: list[Endpoint] = []
        while len(some) < _MAX_PROBED and (endpoint := self._endpoints.choose(some)) is not None:
            some.append(endpoint)
        return some

    async def _is_ready(self, endpoint: Endpoint) -> bool | None:
        """Return whether an endpoint says that it is ready, or None if it says nothing."""
        try:
            ready = await self._discovery.is_ready(endpoint)
        except (ConnectionFailed, TimeoutError):
            return None
        if ready:
            self._endpoints.answered(endpoint)
        return ready

    def _choose(self, without: Sequence[Endpoint]) -> Endpoint:
        endpoint = self._endpoints.choose(without)
        if endpoint is None:
            raise self._unreachable()
        return endpoint

    def _follow(self, affinity: Affinity) -> Endpoint | None:
        endpoint = affinity.endpoint
        if endpoint is None or self._endpoints.known.get(endpoint.address) is not endpoint:
            return None
        # One that leaves still serves, and knows what it has just said.
        return None if self._endpoints.state(endpoint) == "ejected" else endpoint

    def _second_chance(
        self, first: Endpoint, context: RequestContext, *, at_same: bool
    ) -> Endpoint | None:
        """Return whom to ask once more, or None if that is not possible or not affordable."""
        second = self._endpoints.choose((first,), proven=True)
        if second is None and at_same and first.address in self._endpoints.known:
            # Behind a single address there may be many: a new connection may find another.
            second = first
        if second is None or context.deadline.left_s <= 0 or not self._budget.take():
            return None
        return second

    async def _ask(
        self,
        endpoint: Endpoint,
        context: RequestContext,
        method: str,
        target: str,
        content: Sequence[Buffer],
        headers: Mapping[str, str],
        resend_count: int,
    ) -> Response:
        if context.trace is None:
            return await self._exchange(endpoint, context, method, target, content, headers)
        address = endpoint.address
        url, process = f"{address.scheme}://{address.host}{target}", (address.ip, address.port)
        with context.trace.attempt(method, url, process, resend_count=resend_count) as attempt:
            more = {**headers, **attempt.headers}
            response = await self._exchange(endpoint, context, method, target, content, more)
            attempt.status_code = response.status_code
            return response

    async def _exchange(
        self,
        endpoint: Endpoint,
        context: RequestContext,
        method: str,
        target: str,
        content: Sequence[Buffer],
        headers: Mapping[str, str],
    ) -> Response:
        left = context.deadline.remaining_s()
        size = sum(len(part) for part in content)
        lines = [
            f"{method} {target} HTTP/1.1",
            f"host: {endpoint.address.host}",
            f"content-length: {size}",
            *(f"{name}: {value}" for name, value in context.to_headers().items()),
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self._endpoints.begin(endpoint)
        try:
            response = await self._discovery.connections(endpoint).request(head, content, left)
        except TimeoutError:
            raise DeadlineExceeded(f"the {self.name} service did not answer in time") from None
        except ConnectionFailed:
            self._fail(endpoint)
            raise
        finally:
            self._endpoints.end(endpoint)
            self._discovery.forget_if_gone(endpoint)
        if response.status_code in _FAULTS:
            self._fail(endpoint)
        else:
            leaving = response.headers.get("connection", "").lower() == "close"
            self._endpoints.answered(endpoint, leaving=leaving)
        return response

    def _fail(self, endpoint: Endpoint) -> None:
        self._metrics.failures.inc()
        before = endpoint.ejected_until
        self._endpoints.failed(endpoint)
        if endpoint.ejected_until != before:
            self._metrics.ejections.inc()

    def _accept(self, response: Response, context: RequestContext) -> Response:
        """Return a good answer; raise what a bad one means to the caller."""
        context.timings.absorb(response.headers.get("server-timing"))
        if response.status_code == HTTPStatus.OK:
            return response
        if response.status_code not in _PASSED_ON:
            raise Unavailable(f"the {self.name} service failed")
        try:
            problem = orjson.loads(response.content)
            title, detail = str(problem["title"]), str(problem["detail"])
        except (ValueError, KeyError, TypeError):
            raise self.nonsense() from None
        retry_after = response.headers.get("retry-after")
        raise RemoteProblem(response.status_code, title, detail, retry_after)
