"""The outermost layer of every service: identity, deadline, metrics, log line and errors."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from traceback import clear_frames
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.core.probes import ENDING, Readiness
from services.common.core.problems import (
    is_expected,
    problem_detail,
    problem_reason,
    problem_response,
)
from services.common.observe.log_limit import LogLimit
from services.common.observe.logs import get_logger
from services.common.observe.telemetry import Metrics
from services.common.request.context import (
    TIMEOUT_HEADER,
    Deadline,
    RequestContext,
    accept_request_id,
    attach_context,
)
from services.common.request.errors import Unavailable

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

CALLER_LEFT = 499
"""nginx's status for a caller that closed the connection before the response began."""
# Logged at debug level only: Kubernetes requests them every few seconds, the live view more often.
_QUIET = frozenset(
    {
        "/livez",
        "/readyz",
        "/health/ping",
        "/metrics",
        "/live/self",
        "/live/tree",
        "/grpc.health.v1.Health/Check",
    }
)
# Anyone may request it without end. Its failures are logged.
_STATUS = "/health/status"
# Characters of a path or a detail in a log line; a caller chooses some of them.
_MAX_TEXT = 300
# Methods that may become a metric label; a caller could invent any number of others.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Wraps every request; the only place where an exception of a route becomes a response.

    It is pure ASGI, so that bodies stream through it untouched.
    """

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
        self._recorder = Recorder(metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; no exception passes on to the server, except CancelledError."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        context = RequestContext(
            accept_request_id(headers.get("x-request-id")), Deadline.after_ms(self._longest_ms)
        )
        context.is_head = scope["method"] == "HEAD"
        attach_context(scope, context)
        # The server leaves out the body of a response to HEAD, for which there are no routes.
        routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        if self._tracing is not None:
            context.trace = self._tracing.begin(scope, headers, context.request_id)
        if context.trace is not None:
            context.timings.on_phase = context.trace.add_phase
        response = _ResponseWatch(context, self._metrics.service, self._readiness, send)
        caller = _CallerWatch(receive, response)
        self._metrics.in_flight.inc()
        try:
            context.deadline = Deadline.from_header(headers.get(TIMEOUT_HEADER), self._longest_ms)
            await self._app(routed, caller.receive_message, response.send_message)
        except asyncio.CancelledError:
            if response.begun and not caller.disconnected:
                raise
            _uncancel()
            if not caller.disconnected:
                # The server cancels what is left when its drain time is over.
                error = Unavailable(
                    "the service is shutting down and cannot finish this request",
                    self._readiness.retry_after_s,
                )
                caller.stop_watching()
                await _send_problem(error, scope, receive, context, response)
        except Exception as error:  # noqa: BLE001  # last resort: every exception becomes a response
            caller.stop_watching()
            await _send_problem(error, scope, receive, context, response)
        finally:
            caller.stop_watching()
            self._metrics.in_flight.dec()
            self._recorder.record(
                context,
                method=scope["method"] if scope["method"] in _METHODS else "(other)",
                path=scope["path"],
                route=getattr(routed.get("route"), "path", None),
                status=response.status,
            )


class Recorder:
    """Counts, logs and traces requests that are over."""

    def __init__(self, metrics: Metrics) -> None:
        """Take the metrics of the service."""
        self._metrics = metrics
        self._log_limit = LogLimit()

    def record(
        self, context: RequestContext, *, method: str, path: str, route: str | None, status: int
    ) -> None:
        """Record a request; `route` is the pattern of its path, or None if there is no such route.

        `method` must be one of a few words, whatever a caller sends.
        """
        elapsed_ms = context.timings.elapsed_ms()
        counted = route or "(no route)"
        if context.is_background:
            # Apart: how long these wait says nothing about the others.
            counted += " (background)"
        self._metrics.count_request(counted, method, status, elapsed_ms / 1000)
        self._metrics.count_phases(context.timings.own_phases())
        caller = {}
        if context.identity is not None:
            caller["client"] = context.identity.client[:_MAX_TEXT]
            self._metrics.count_client(context.identity.client, status)
        if context.problem is not None:
            self._metrics.count_problem(context.problem)
        failed = status >= HTTPStatus.BAD_REQUEST
        failure = _describe_failure(context, status) if failed else {}
        if failed:
            # Under overload a line for each refusal would cost more than the refusal.
            kind = str(status), failure["reason"], failure.get("endpoint", "")
            quiet = route in _QUIET or not self._log_limit.passes("request", *kind)
        else:
            # Hundreds of background requests belong to one explanation.
            quiet = route in _QUIET or route == _STATUS or context.is_background
        log = get_logger().debug if quiet else get_logger().info
        log(
            "request",
            method=method,
            path=path[:_MAX_TEXT],
            status=status,
            ms=round(elapsed_ms, 1),
            uid=context.uid,
            **caller,
            **failure,
        )
        if context.trace is not None:
            context.trace.end(route, status)


def _describe_failure(context: RequestContext, status: int) -> dict[str, str]:
    """Return why a request failed: fields of its log line."""
    if status == CALLER_LEFT:
        return {"reason": "caller_left"}
    found = {"reason": context.problem or "unknown"}
    if context.detail is not None:
        found["detail"] = context.detail[:_MAX_TEXT]
    failure = context.peer_failure
    if failure is not None:
        found["peer"] = failure.peer
        found["endpoint"] = failure.endpoint
        found["peer_failure"] = failure.why[:_MAX_TEXT]
    return found


async def _send_problem(
    error: Exception,
    scope: Scope,
    receive: Receive,
    context: RequestContext,
    response: _ResponseWatch,
) -> None:
    """Send the problem document, unless a response has begun: then the error is only logged."""
    if response.begun or not is_expected(error):
        get_logger().error("unexpected error", exc_info=error, uid=context.uid, path=scope["path"])
    # The frames hold pieces of the body, and cycles of references keep them until some collection.
    clear_frames(error.__traceback__)
    if not response.begun:
        context.problem = problem_reason(error)
        context.detail = problem_detail(error)
        await problem_response(error, context.uid)(scope, receive, response.send_message)


def _uncancel() -> None:
    task = asyncio.current_task()
    assert task is not None, "an ASGI app runs in a task"  # noqa: S101
    task.uncancel()


class _ResponseWatch:
    """Notes the status of a response, and adds the headers that every response carries."""

    def __init__(
        self, context: RequestContext, tier: str, readiness: Readiness, send: Send
    ) -> None:
        self.status = CALLER_LEFT
        self.begun = False
        self.complete = False
        self._context = context
        self._tier = tier
        self._readiness = readiness
        self._send = send

    async def send_message(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._context.request_id
            headers["Server-Timing"] = self._context.timings.to_header(self._tier)
            for name, value in self._context.response_headers.items():
                headers[name] = value
            if self._readiness.phase in ENDING:
                # The caller sends its next request over a new connection, to another pod.
                headers["Connection"] = "close"
        elif not message.get("more_body"):
            self.complete = True
        await self._send(message)


class _CallerWatch:
    """Passes on what the caller sends, and cancels the request if the caller hangs up."""

    def __init__(self, receive: Receive, response: _ResponseWatch) -> None:
        self.disconnected = False
        self._receive = receive
        self._response = response
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None

    async def receive_message(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            self._watch = asyncio.create_task(self._cancel_on_disconnect())
        return message

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def _cancel_on_disconnect(self) -> None:
        # After the whole body, the next message is the end of the connection or of the response.
        await self._receive()
        if not self._response.complete and self._task is not None:
            self.disconnected = True
            self._task.cancel()
