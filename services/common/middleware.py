"""The outermost layer of every service: identity, timing, log line and last resort of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.context import RequestContext, accept_request_id, attach_context
from services.common.deadline import HEADER, Deadline
from services.common.errors import MalformedRequest
from services.common.logs import get_logger
from services.common.problems import to_response
from services.common.telemetry import Metrics

# Kubernetes asks every few seconds; that is not worth a line.
_QUIET = frozenset({"/livez", "/readyz", "/health/ping", "/metrics"})
# Methods that may become a metric label; any other word could be invented by a stranger.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class RequestMiddleware:
    """Pure ASGI, so that bodies stream through it untouched."""

    def __init__(self, app: ASGIApp, metrics: Metrics, longest_ms: int) -> None:
        """Wrap `app`; no request may take longer than `longest_ms` milliseconds."""
        self._app = app
        self._metrics = metrics
        self._longest_ms = longest_ms

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
        answer = _Answer(context, self._metrics.service, send)
        self._metrics.in_flight.inc()
        try:
            context.deadline = Deadline.from_header(headers.get(HEADER), self._longest_ms)
            await self._app(scope, receive, answer.send)
        except MalformedRequest as error:
            await to_response(error, context.uid)(scope, receive, answer.send)
        except Exception as error:  # noqa: BLE001  # the last resort: logged, answered with 500
            get_logger().exception("unexpected error", uid=context.uid, path=scope["path"])
            if not answer.begun:
                await to_response(error, context.uid)(scope, receive, answer.send)
        finally:
            self._metrics.in_flight.dec()
            self._record(scope, context, answer.status)

    def _record(self, scope: Mapping[str, Any], context: RequestContext, status: int) -> None:
        route = getattr(scope.get("route"), "path", "(no route)")
        method = scope["method"] if scope["method"] in _METHODS else "(other)"
        elapsed_ms = context.timings.elapsed_ms()
        self._metrics.count_request(route, method, status, elapsed_ms / 1000)
        log = get_logger().debug if route in _QUIET else get_logger().info
        log(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            ms=round(elapsed_ms, 1),
            uid=context.uid,
        )


class _Answer:
    """Watches an answer go out, and adds the headers that every answer carries."""

    def __init__(self, context: RequestContext, tier: str, send: Send) -> None:
        self.status = 499  # what remains when the caller left before the answer began
        self.begun = False
        self._context = context
        self._tier = tier
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._context.request_id
            headers["Server-Timing"] = self._context.timings.header(self._tier)
        await self._send(message)
