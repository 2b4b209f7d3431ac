"""Assemble a FastAPI app with everything that all services have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from elastic_yolo import __version__
from services.common.core.middleware import RequestMiddleware
from services.common.core.picture_route import PictureRoute, add_picture_routes
from services.common.core.probes import Phase, Readiness, StatusCheck, add_probes
from services.common.core.problems import install_problems
from services.common.core.settings import ServiceSettings
from services.common.observe.loop_lag import measure_lag
from services.common.observe.telemetry import Metrics

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
) -> FastAPI:
    """Return the app; `resources` opens and closes what the routes need.

    `lanes` are the routes that every picture takes; they belong to `routers` as well.
    `gates` may refuse a request, by a ServiceError, before a route is looked for.
    The process is ready once the resources are open; the server finds `readiness` and `tracing`
    in `app.state`, turns the one to draining at shutdown and closes the other after it.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        measuring = asyncio.create_task(measure_lag(metrics.observe_lag))
        try:
            async with resources():
                readiness.phase = Phase.SERVING
                yield
        finally:
            measuring.cancel()

    app = FastAPI(
        title=f"elastic-yolo {metrics.service}",
        summary=summary,
        version=__version__,
        lifespan=lifespan,
        # Looks for exporters at every request, and would not see the lanes: spans.py does.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # A redirected POST is sent twice or loses its body, depending on the client.
        redirect_slashes=False,
    )
    app.state.readiness = readiness
    app.state.tracing = tracing
    install_problems(app)
    for router in routers:
        app.include_router(router)
    add_picture_routes(app, picture_routes)
    add_probes(app, readiness, metrics, check_dependencies, check_status)
    for gate in gates:
        app.add_middleware(gate.cls, *gate.args, **gate.kwargs)
    app.add_middleware(
        RequestMiddleware,
        metrics=metrics,
        readiness=readiness,
        longest_ms=settings.request_timeout_ms,
        tracing=tracing,
    )
    return app
