"""Assemble the preprocess service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import cv2
from fastapi import FastAPI

from services.common.core.app import build_app
from services.common.core.golden import Golden, check_golden
from services.common.core.probes import Readiness
from services.common.observe.cpu_quota import thread_count
from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.picture_inputs import PictureInputs
from services.common.request.body import Bodies
from services.common.request.context import RequestContext
from services.preprocess.drawing import Drawing
from services.preprocess.inference_client import ModelDirectory
from services.preprocess.pipeline import DetectionRequest, Pipeline
from services.preprocess.routes import build_picture_route, build_router, to_json
from services.preprocess.settings import PreprocessSettings

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing


def create_app(settings: PreprocessSettings, tracing: Tracing | None = None) -> FastAPI:
    """Return the app; it connects to inference with the first request."""
    # One worker thread decodes each picture; OpenCV's own threads would compete with them.
    cv2.setNumThreads(1)
    readiness = Readiness()
    metrics = Metrics("preprocess")
    inference = Peer("inference", settings.inference_url, metrics)
    inputs = PictureInputs.start(
        workers=settings.threads or thread_count(),
        max_waiting=settings.max_queue,
        max_pixels=settings.max_pixels,
    )
    pipeline = Pipeline(inference, ModelDirectory(inference), inputs)
    drawing = Drawing.start(inputs.memory)

    metrics.watch_queue(inputs.queue.name, lambda: inputs.queue.load)
    metrics.watch_queue(drawing.queue.name, lambda: drawing.queue.load)
    bodies = Bodies(settings.max_held_bytes)
    route = build_picture_route(pipeline, drawing, bodies, settings.max_body_bytes)

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        inference.start()
        yield
        inputs.queue.close()
        drawing.queue.close()
        inference.close()

    async def check_status(context: RequestContext) -> dict[str, Any]:
        async def request_golden() -> Golden:
            return await pipeline.models.request_golden(context)

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
        routers=[build_router(pipeline)],
        picture_routes=[route],
        check_dependencies=inference.check_ready,
        check_status=check_status,
        resources=resources,
        tracing=tracing,
    )
