"""Assemble the preprocess service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
from fastapi import FastAPI

from services.common.core.app import build_app
from services.common.core.golden import Golden, check_golden
from services.common.core.live import LiveProcess, build_live_router
from services.common.core.probes import Readiness, until_it_passes
from services.common.core.tls import Tls
from services.common.observe.cpu_quota import thread_count
from services.common.observe.telemetry import Metrics
from services.common.peer import Hold
from services.common.picture_inputs import PictureInputs
from services.common.request.body import Bodies
from services.common.request.context import RequestContext
from services.preprocess.drawing import Drawing
from services.preprocess.explaining.explainer import Explainer
from services.preprocess.explaining.metrics import ExplainMetrics
from services.preprocess.explaining.route import build_explain_route
from services.preprocess.inference_client import DetectionRequest
from services.preprocess.live import Behind, build_tree_router
from services.preprocess.pipeline import Pipeline
from services.preprocess.routes import build_picture_route, build_router, to_json
from services.preprocess.routing.build import build_backend
from services.preprocess.routing.follower import TableFollower, TableMetrics
from services.preprocess.routing.router import RouteMetrics, Router
from services.preprocess.routing.table import Table, single_table
from services.preprocess.settings import PreprocessSettings

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing


def create_app(
    settings: PreprocessSettings,
    tracing: Tracing | None = None,
    tls: Tls | None = None,
    table: Table | None = None,
) -> FastAPI:
    """Return the app; it connects to its back ends when it starts.

    `table` is what `settings.routes` had at the start. Without routes everything goes to inference.
    """
    # One worker thread decodes each picture; OpenCV's own threads would compete with them.
    cv2.setNumThreads(1)
    readiness = Readiness()
    metrics = Metrics("preprocess")
    inputs = PictureInputs.start(
        workers=settings.threads or thread_count(),
        max_waiting=settings.max_queue,
        max_pixels=settings.max_pixels,
    )
    source = settings.table_source()
    hold = Hold(settings.hold_limits, metrics)
    router = Router(
        partial(build_backend, metrics, hold, inputs.queue, tls, settings.fallbacks),
        None if source is None else RouteMetrics(metrics),
    )
    pipeline = Pipeline(router, inputs)
    drawing = Drawing.start(inputs.memory)

    metrics.watch_queue(inputs.queue.name, lambda: inputs.queue.load)
    metrics.watch_queue(drawing.queue.name, lambda: drawing.queue.load)
    bodies = Bodies(settings.max_held_bytes)
    explainer = (
        Explainer(pipeline, ExplainMetrics(metrics), readiness) if settings.explain else None
    )
    routes = [
        build_picture_route(
            pipeline,
            drawing,
            bodies,
            settings.max_body_bytes,
            on_picture=None if explainer is None else explainer.restraint.note_picture,
        )
    ]
    live = LiveProcess(
        metrics,
        readiness,
        port=settings.port,
        routes=[route.path for route in routes],
        peers=lambda: router.inference_peers,
    )
    if explainer is not None:
        routes.append(build_explain_route(explainer, bodies, settings.max_body_bytes))

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        if source is None:
            assert settings.inference_url is not None, "checked by the settings"  # noqa: S101
            router.take(single_table(settings.inference_url))
            yield
        else:
            follower = TableFollower(source, settings.inference_url, router, TableMetrics(metrics))
            async with follower.following(table):
                yield
        inputs.queue.close()
        drawing.queue.close()
        if explainer is not None:
            explainer.close()
        router.close()

    async def check_status(context: RequestContext) -> dict[str, Any]:
        async def request_golden() -> Golden:
            return await router.request_golden(context)

        async def predict(golden: Golden) -> dict[str, Any]:
            picture = base64.b64decode(golden.picture)
            wanted = DetectionRequest(golden.model, golden.version)
            return to_json(await pipeline.process_picture(context, picture, wanted))

        checked = await check_golden(request_golden, predict)
        return {"model": checked["model"], "found": checked["detections"]}

    return build_app(
        summary="Decodes and resizes pictures, sends them to inference, maps and draws the boxes.",
        settings=settings,
        readiness=readiness,
        metrics=metrics,
        routers=[
            build_router(pipeline),
            build_live_router(live),
            build_tree_router(live, Behind(router)),
        ],
        picture_routes=routes,
        check_dependencies=until_it_passes(router.check_ready, passed=settings.ready_alone),
        check_status=check_status,
        resources=resources,
        tracing=tracing,
        tls=tls,
    )
