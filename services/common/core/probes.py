"""The routes that every service has: liveness, readiness, health, metrics."""

from __future__ import annotations

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

PROBES_ONLY = "probes_only"
"""The key of a connection's state that says that it came to PROBE_PORT."""
_PROBE_PATHS = frozenset({"/livez", "/readyz", "/health/ping", "/metrics"})


class ProbePortGate:
    """Answers 404 to everything but probes and metrics on PROBE_PORT."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard an app that may be served on both ports."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise HTTPException."""
        if (
            scope["type"] == "http"
            and PROBES_ONLY in scope.get("state", {})
            and scope["path"] not in _PROBE_PATHS
        ):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        await self._app(scope, receive, send)


class Phase(Enum):
    """The phase of a process between its start and its end."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"


class Readiness:
    """Whether this process accepts new requests: start and drain set it, `/readyz` returns it."""

    def __init__(self) -> None:
        """Start as not ready."""
        self.phase = Phase.STARTING

    def require(self) -> None:
        """Raise Unavailable unless the process is serving."""
        if self.phase is not Phase.SERVING:
            raise Unavailable(f"this service is {self.phase.value}")


def add_probes(
    app: FastAPI,
    readiness: Readiness,
    metrics: Metrics,
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
        summary="The service has started, has reached the next service, and is not draining",
    )
    async def readyz() -> dict[str, str]:
        readiness.require()
        await check_dependencies()
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

    @router.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def export_metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": content_type})

    app.include_router(router)
