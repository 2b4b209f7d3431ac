"""Assemble a FastAPI app with everything that all services have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, NoReturn, cast

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from elastic_yolo import __version__
from services.common.core.access_token import Schemes
from services.common.core.api_docs import add_api_docs, complete_schema
from services.common.core.middleware import RequestMiddleware
from services.common.core.picture_route import PictureRoute, add_picture_routes
from services.common.core.probes import MetricsPortGate, Phase, Readiness, add_metrics, add_probes
from services.common.core.settings import ServiceSettings
from services.common.core.status import SharedStatus, StatusCheck
from services.common.core.tls import Tls
from services.common.observe.telemetry import Metrics, measure_lag

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing


def build_app(
    *,
    summary: str,
    settings: ServiceSettings,
    readiness: Readiness,
    metrics: Metrics,
    routers: list[APIRouter],
    check_dependencies: Callable[[], Awaitable[None]],
    check_status: StatusCheck,
    resources: Callable[[], AbstractAsyncContextManager[None]],
    picture_routes: Sequence[PictureRoute],
    gates: Sequence[Middleware] = (),
    tracing: Tracing | None = None,
    tls: Tls | None = None,
) -> FastAPI:
    """Return the app; `resources` opens and closes what the routes need.

    `check_dependencies` raises Unavailable until the service may become ready.
    `gates` may refuse a request with a ServiceError before it is routed.
    The process is ready once the resources are open. The server reads `readiness`, `tracing` and
    `tls` from `app.state`: it sets the first to draining at shutdown, and closes the second
    afterwards. It writes `connection_limit` before the resources are opened.
    """
    status = SharedStatus(check_status, settings.request_timeout_ms)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(measure_lag(metrics.record_lag))]
        if tls is not None:
            tasks.append(asyncio.create_task(tls.watch()))
        try:
            async with resources():
                readiness.begin(Phase.SERVING)
                yield
        finally:
            for task in tasks:
                task.cancel()
            status.close()

    app = FastAPI(
        title=f"elastic-yolo {metrics.service}",
        summary=summary,
        version=__version__,
        lifespan=lifespan,
        # FastAPI's spans know neither the phases nor the next service: tracing.py has them.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # A client that follows a redirect may send a POST twice, or without its body.
        redirect_slashes=False,
        # These pages load scripts from other hosts.
        docs_url=None,
        redoc_url=None,
    )
    app.state.readiness = readiness
    app.state.tracing = tracing
    app.state.tls = tls
    if tls is not None:
        tls.export(metrics)
    # No handlers of FastAPI's: RequestMiddleware alone makes responses of exceptions.
    app.exception_handlers.clear()
    app.add_exception_handler(HTTPException, _raise_again)
    add_picture_routes(app, picture_routes)
    for router in routers:
        app.include_router(router)
    has_port = settings.metrics_port is not None
    add_probes(app, readiness, check_dependencies, status)
    add_metrics(app, metrics, in_schema=not has_port)
    add_api_docs(app)
    complete_schema(app, _guarded_paths(gates))
    for gate in gates:
        app.add_middleware(gate.cls, *gate.args, **gate.kwargs)
    if has_port:
        app.add_middleware(MetricsPortGate)
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        readiness=readiness,
        longest_ms=settings.request_timeout_ms,
        tracing=tracing,
    )
    return app


def _guarded_paths(gates: Sequence[Middleware]) -> dict[str, Schemes]:
    """Return the prefixes of the paths that require a token or a key, with how it is sent."""
    return {
        prefix: gate.cls.schemes  # type: ignore[attr-defined]  # a gate
        for gate in gates
        for prefix in cast("tuple[str, ...]", gate.kwargs.get("prefixes", ()))
    }


async def _raise_again(_request: Request, error: Exception) -> NoReturn:
    """Take the place of Starlette's handler, which would make a plain text response."""
    raise error
