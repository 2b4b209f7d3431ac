"""The outermost layer of every service: identity, timing, log line and last resort of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.core.probes import Phase, Readiness
from services.common.core.problems import answer_problem
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.common.request.context import (
    RequestContext,
    accept_request_id,
    attach_context,
    context_of,
)
from services.common.request.deadline import HEADER, Deadline
from services.common.request.errors import ServiceError, Unavailable

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

# Kubernetes asks every few seconds; that is not worth a line.
_QUIET = frozenset({"/livez", "/readyz", "/health/ping", "/metrics"})
# Methods that may become a metric label; any other word could be invented by a stranger.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Pure ASGI, so that bodies stream through it untouched."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        readiness: Readiness,
        longest_ms: int,
        tracing: Tracing | None = None,
    ) -> None:
        """Wrap `app`; no request may take longer than `longest_ms` milliseconds."""
        self._app = app
        self._metrics = metrics
        self._readiness = readiness
        self._longest_ms = longest_ms
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; never lets an exception through to the server."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        context = RequestContext(
            accept_request_id(headers.get("x-request-id")), Deadline.after_ms(self._longest_ms)
        )
        attach_context(scope, context)
        if self._tracing is not None:
            context.trace = self._tracing.begin(scope, headers, context.request_id)
        if context.trace is not None:
            context.timings.on_phase = context.trace.add_phase
        answer = _Answer(context, self._metrics.service, self._readiness, send)
        caller = _Caller(receive, answer)
        self._metrics.in_flight.inc()
        try:
            context.deadline = Deadline.from_header(headers.get(HEADER), self._longest_ms)
            await self._app(scope, caller.receive, answer.send)
        except ServiceError as error:
            await answer_problem(error, context)(scope, receive, answer.send)
        except asyncio.CancelledError:
            await self._end_early(scope, receive, caller, answer)
        except Exception as error:  # noqa: BLE001  # the last resort: logged, answered with 500
            get_logger().exception("unexpected error", uid=context.uid, path=scope["path"])
            if not answer.begun:
                await answer_problem(error, context)(scope, receive, answer.send)
        finally:
            caller.forget()
            self._metrics.in_flight.dec()
            self._record(scope, context, answer.status)

    async def _end_early(
        self, scope: Scope, receive: Receive, caller: _Caller, answer: _Answer
    ) -> None:
        """Say why to a caller who is still there: the time that a drain may take was over."""
        if answer.begun and not caller.gone:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None, "an ASGI app runs in a task"  # noqa: S101
        task.uncancel()
        if not caller.gone:
            error = Unavailable("this service stops, and the request took too long for that")
            await answer_problem(error, context_of(scope))(scope, receive, answer.send)

    def _record(self, scope: Mapping[str, Any], context: RequestContext, status: int) -> None:
        route = getattr(scope.get("route"), "path", "(no route)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        elapsed_ms = context.timings.elapsed_ms()
        self._metrics.count_request(route, method, status, elapsed_ms / 1000)
        self._metrics.count_phases(context.timings.own())
        if context.problem is not None:
            self._metrics.count_problem(context.problem)
        # A flood of refusals is for the metrics: a line for each would cost more than refusing.
        quiet = route in _QUIET or status == HTTPStatus.TOO_MANY_REQUESTS
        log = get_logger().debug if quiet else get_logger().info
        log(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            ms=round(elapsed_ms, 1),
            uid=context.uid,
        )
        if context.trace is not None:
            context.trace.end(getattr(scope.get("route"), "path", None), status)


class _Answer:
    """Watches an answer go out, and adds the headers that every answer carries."""

    def __init__(
        self, context: RequestContext, tier: str, readiness: Readiness, send: Send
    ) -> None:
        self.status = 499  # what remains when the caller left before the answer began
        self.begun = False
        self.complete = False
        self._context = context
        self._tier = tier
        self._readiness = readiness
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._context.request_id
            headers["Server-Timing"] = self._context.timings.header(self._tier)
            if self._readiness.phase is Phase.DRAINING:
                # The caller's next request goes to another process, over a new connection.
                headers["Connection"] = "close"
        elif not message.get("more_body"):
            self.complete = True
        await self._send(message)


class _Caller:
    """Hands on what the caller sends, and ends the work for a caller who has left."""

    def __init__(self, receive: Receive, answer: _Answer) -> None:
        self.gone = False
        self._receive = receive
        self._answer = answer
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._watch = asyncio.create_task(self._wait())
        return message

    def forget(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _wait(self) -> None:
        # Behind the whole body nothing can come but the end of the connection, or of the answer.
        await self._receive()
        if not self._answer.complete and self._task is not None:
            self.gone = True
            self._task.cancel()
