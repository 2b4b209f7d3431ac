"""Assemble the web service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from services.common.core.app import build_app
from services.common.core.explain_query import PATH as EXPLAIN_PATH
from services.common.core.golden import Golden, check_golden
from services.common.core.live import LiveProcess, build_live_router
from services.common.core.probes import Readiness, until_it_passes
from services.common.core.tls import Tls
from services.common.observe.telemetry import Metrics
from services.common.peer import Hold, Peer
from services.common.queue import ServiceRate
from services.common.request.body import Bodies
from services.common.request.context import RequestContext
from services.web.admission import Admission, AdmissionGate
from services.web.door import Door
from services.web.explain import build_explain_route
from services.web.live.build import build_collector
from services.web.live.load import LoadSender
from services.web.live.routes import PREFIX as LIVE_PREFIX
from services.web.live.routes import build_live_routes, build_load_routes
from services.web.pages import build_pages
from services.web.routes import (
    MODELS_PATH,
    PATH,
    PictureMetrics,
    Web,
    build_model_router,
    build_picture_route,
)
from services.web.settings import WebSettings

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing


def create_app(
    settings: WebSettings, tracing: Tracing | None = None, tls: Tls | None = None
) -> FastAPI:
    """Return the app; it connects to preprocess with the first request.

    Raises KeysFileInvalid.
    """
    metrics = Metrics("web")
    metrics.watch_clients()
    door = Door(
        settings,
        metrics,
        limited=(PATH, EXPLAIN_PATH),
        guarded=(PATH, EXPLAIN_PATH, MODELS_PATH, LIVE_PREFIX),
    )
    readiness = Readiness()
    hold = Hold(settings.hold_limits, metrics)
    preprocess = Peer(
        "preprocess",
        settings.preprocess_url,
        metrics,
        None if tls is None else tls.client_context,
        hold=hold,
        fallback_urls=settings.preprocess_fallback_url,
    )
    web = Web(
        preprocess=preprocess,
        # While pictures are held, none is done: that is no sign of slow services.
        admission=Admission(settings.max_in_flight, ServiceRate(hold.working_clock)),
        bodies=Bodies(settings.max_held_bytes),
        max_body_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
        metrics=PictureMetrics(metrics),
    )

    routes = [build_picture_route(web)]
    if settings.explain:
        routes.append(build_explain_route(web))
    metrics.watch_queue("admission", lambda: web.admission.load)
    gates = [Middleware(AdmissionGate, admission=web.admission, path=PATH)]
    # Added last, so they come first: who may not send a picture must not learn about the load.
    gates += door.gates

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        preprocess.start()
        async with door.opened():
            yield
        if load is not None:
            await load.stop()
        collector.close()
        preprocess.close()

    async def request_golden(context: RequestContext) -> Golden:
        return preprocess.read_model(Golden, await preprocess.send(context, "GET", "/golden"))

    async def check_status(context: RequestContext) -> dict[str, Any]:
        async def predict(golden: Golden) -> dict[str, Any]:
            params = {"model": golden.model, "version": golden.version}
            picture = base64.b64decode(golden.picture)
            # It is load, like any other picture.
            with web.admission.slot(context):
                return await web.request_detections(context, picture, params)

        checked = await check_golden(lambda: request_golden(context), predict)
        return {"model": checked["model"], "found": checked["detections"]}

    live = LiveProcess(
        metrics,
        readiness,
        port=settings.port,
        routes=[PATH],
        in_flight=lambda: web.admission.load.waiting,
        peers=lambda: [preprocess],
        load=lambda: (0.0, 0.0) if load is None else (load.rate, load.left_s),
    )
    collector = build_collector(settings, readiness, live, preprocess, tls)
    load = LoadSender(PATH, request_golden) if settings.live_load else None
    routers = [
        build_pages(requires_identity=door.requires_identity),
        build_model_router(preprocess),
        build_live_routes(collector),
    ]
    if settings.live_web_url is not None:
        routers.append(build_live_router(live, with_addresses=False))
    if load is not None:
        routers.append(build_load_routes(load, web.bodies))
    return build_app(
        summary="Receives pictures and returns the boxes of the objects in them.",
        settings=settings,
        readiness=readiness,
        metrics=metrics,
        routers=routers,
        picture_routes=routes,
        check_dependencies=until_it_passes(preprocess.check_ready, passed=settings.ready_alone),
        check_status=check_status,
        resources=resources,
        gates=gates,
        tracing=tracing,
        tls=tls,
    )
