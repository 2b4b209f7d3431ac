"""The routes that every service has: liveness, readiness, health, metrics."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client.exposition import choose_encoder
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.core.status import SharedStatus
from services.common.observe.telemetry import Metrics
from services.common.request.context import Context
from services.common.request.errors import Unavailable

ON_METRICS_PORT = "on_metrics_port"
"""The key of a connection's state that says that it came to METRICS_PORT."""
_METRICS = "/metrics"
_PROBE_PATHS = frozenset({"/livez", "/readyz", "/health/ping", _METRICS})


class MetricsPortGate:
    """Answers 404 to all but probes and metrics on METRICS_PORT, and to metrics elsewhere."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard an app that may be served on both ports."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise HTTPException."""
        if scope["type"] == "http":
            path = scope["path"]
            there = ON_METRICS_PORT in scope.get("state", {})
            if path not in _PROBE_PATHS if there else path == _METRICS:
                raise HTTPException(HTTPStatus.NOT_FOUND)
        await self._app(scope, receive, send)


class Phase(Enum):
    """The phase of a process between its start and its end."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    """Not ready, and still accepting requests."""
    STOPPING = "stopping"
    """The drain delay is over: only requests in progress finish."""


ENDING = (Phase.DRAINING, Phase.STOPPING)
"""The phases after the signal to end."""


class Readiness:
    """Whether this process accepts new requests: start and drain set it, `/readyz` returns it."""

    def __init__(self) -> None:
        """Start as not ready."""
        self.phase = Phase.STARTING
        self.ready_at: float | None = None
        """time.monotonic() of the first response of `/readyz` that says so."""
        self._ends_at_s = 0.0
        self._changed = asyncio.Event()

    def begin(self, phase: Phase) -> None:
        """Begin the next phase."""
        self.phase = phase
        self._changed.set()
        self._changed = asyncio.Event()

    def begin_drain(self, longest_s: float) -> None:
        """Become not ready; the process ends in `longest_s` seconds at the latest."""
        self._ends_at_s = time.monotonic() + longest_s
        self.begin(Phase.DRAINING)

    async def wait_for_end_of(self, phase: Phase) -> None:
        """Return when the process is in another phase."""
        while self.phase is phase:
            await self._changed.wait()

    @property
    def retry_after_s(self) -> float:
        """The seconds until another process may have taken the place of this one."""
        return max(1.0, self._ends_at_s - time.monotonic())

    def note_ready(self) -> None:
        """Note that the process is ready."""
        if self.ready_at is None:
            self.ready_at = time.monotonic()

    def require(self) -> None:
        """Raise Unavailable unless the process is serving."""
        if self.phase is not Phase.SERVING:
            raise Unavailable(f"this service is {self.phase.value}", self.retry_after_s)


def until_it_passes(
    check: Callable[[], Awaitable[None]], *, passed: bool = False
) -> Callable[[], Awaitable[None]]:
    """Return a check that calls `check` until that has passed once, and passes from then on.

    With `passed` it never calls it.

    A service stays ready when the one behind it goes away: if it did not, nobody would be left to
    tell callers when to come back, and to hold their pictures until then.
    """

    async def check_until_passed() -> None:
        nonlocal passed
        if not passed:
            await check()
            passed = True

    return check_until_passed


def add_probes(
    app: FastAPI,
    readiness: Readiness,
    check_dependencies: Callable[[], Awaitable[None]],
    shared_status: SharedStatus,
) -> None:
    """Add the routes; liveness depends on no other service, or one outage would restart all."""
    router = APIRouter(tags=["probes"])
    started = time.monotonic()

    @router.get("/livez", summary="The process is alive and its event loop runs")
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @router.get(
        "/readyz",
        summary="The service has started, has reached the next service once, and is not draining",
    )
    async def readyz() -> dict[str, str]:
        readiness.require()
        await check_dependencies()
        readiness.note_ready()
        return {"status": "ready"}

    @router.get("/health/ping", summary="The shortest possible response")
    async def ping() -> str:
        return "pong"

    @router.get(
        "/health/status",
        summary="A real prediction, at most 5 s old, compared with its known detections",
    )
    async def status(context: Context) -> dict[str, Any]:
        readiness.require()
        checked = await shared_status.read(context)
        return {"status": "ok", "uptime_s": round(time.monotonic() - started, 1), **checked}

    app.include_router(router)


def add_metrics(app: FastAPI, metrics: Metrics, *, in_schema: bool) -> None:
    """Add the route of the metrics; `in_schema` is whether OpenAPI lists it."""
    router = APIRouter(tags=["probes"])

    @router.get(
        _METRICS,
        summary="Prometheus metrics",
        response_class=Response,
        include_in_schema=in_schema,
    )
    async def export_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": content_type})

    app.include_router(router)
