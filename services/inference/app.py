"""Assemble the inference service from its settings and models."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware

from elastic_yolo.detector.boxes import name_detections
from services.common.core.access_token import TokenGate
from services.common.core.app import build_app
from services.common.core.golden import require_agreement
from services.common.core.live import LiveProcess, ModelSnapshot, build_live_router
from services.common.core.picture_route import PictureRoute
from services.common.core.probes import Readiness
from services.common.core.tls import Tls
from services.common.observe.cpu_quota import thread_count
from services.common.observe.telemetry import Metrics
from services.common.picture_inputs import PictureInputs
from services.common.queue import WorkQueue
from services.common.request.body import Bodies
from services.common.request.context import RequestContext
from services.inference.golden import to_golden_form
from services.inference.measuring.search import PrecisionSearch
from services.inference.routes import InferEndpoint, build_picture_routes, build_router
from services.inference.scheduler import NetworkInput
from services.inference.settings import InferenceSettings
from services.inference.versions.custom_metrics import CustomMetrics
from services.inference.versions.drift import DriftCollector
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.models import Models
from services.inference.versions.repository_routes import (
    PREFIX,
    build_index_router,
    build_load_router,
)
from services.inference.versions.shadow import ShadowRunner

if TYPE_CHECKING:
    from services.common.observe.tracing import Tracing

# Requests whose tensors are numbers in JSON.
_MAX_WAITING_JSON = 16
# The route of predictions over gRPC, as calls are recorded.
_GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"


def create_app(
    settings: InferenceSettings,
    models: Models,
    metrics: Metrics,
    model_metrics: ModelMetrics,
    tracing: Tracing | None = None,
    search: PrecisionSearch | None = None,
    tls: Tls | None = None,
) -> FastAPI:
    """Return the app for models that are loaded; `search` runs in the background."""
    # One worker thread decodes each picture; OpenCV's own threads would compete with the engine.
    cv2.setNumThreads(1)
    readiness = Readiness()
    inputs = PictureInputs.start(
        workers=settings.threads or thread_count(),
        max_waiting=settings.max_queue,
        max_pixels=settings.max_pixels,
    )
    endpoint = InferEndpoint(
        models=models,
        metrics=model_metrics,
        shadows=ShadowRunner(model_metrics),
        custom_metrics=CustomMetrics(metrics.registry),
        bodies=Bodies(settings.max_held_bytes),
        decoding=WorkQueue("json_queue", workers=1, max_waiting=_MAX_WAITING_JSON),
        inputs=inputs,
        max_batch=settings.max_batch,
    )
    metrics.watch_queue("queue", models.queue_load)
    metrics.watch_queue(endpoint.decoding.name, lambda: endpoint.decoding.load)
    metrics.watch_queue(inputs.queue.name, lambda: inputs.queue.load)
    metrics.registry.register(DriftCollector(models.drift_watches))
    model_metrics.call_on_forget(endpoint.custom_metrics.forget)
    token = settings.repository_token
    picture_routes = build_picture_routes(endpoint)
    routers = [
        build_index_router(models, endpoint.bodies),
        _build_live_router(settings, metrics, readiness, models, picture_routes),
    ]
    gates: list[Middleware] = []
    extensions: list[str] = []
    if token is not None:
        routers.append(build_load_router(models, endpoint.bodies))
        gates.append(Middleware(TokenGate, token=token, prefixes=(PREFIX,), what="the repository"))
        extensions.append("model_repository")

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(models.partition()),
            asyncio.create_task(models.poll_stores(settings.model_poll_s)),
            *([] if search is None else [asyncio.create_task(search.run())]),
        ]
        try:
            async with AsyncExitStack() as opened:
                if settings.grpc_port is not None:
                    # A caller's bad header would put lines without limit on stderr, and no JSON.
                    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
                    # Imported here: it takes 0.05 s and 10 MB.
                    from services.inference.grpc.server import serving_grpc  # noqa: PLC0415

                    limit = app.state.connection_limit.connections
                    await opened.enter_async_context(
                        serving_grpc(
                            settings, endpoint, readiness, metrics, extensions, tracing, tls, limit
                        )
                    )
                yield
        finally:
            if search is not None:
                search.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            endpoint.decoding.close()
            inputs.queue.close()
            await models.close()

    async def check_dependencies() -> None:
        """Do nothing: this service calls no other."""

    async def check_status(context: RequestContext) -> dict[str, Any]:
        """Run the golden picture of the default model's main version."""
        version = models.current_split(models.default.name).main
        picture = base64.b64decode(version.golden.picture)
        with version.in_use():
            image, place = await asyncio.to_thread(version.detector.prepare, picture)
            rows = await version.predict(context, NetworkInput.of(image[np.newaxis]))
        found = to_golden_form(
            name_detections(place.to_picture(rows[0]), version.detector.model.labels)
        )
        require_agreement(version.golden, found)
        return {"model": version.facts(), "found": found}

    app = build_app(
        summary="Runs a Darknet network and answers the Open Inference Protocol v2.",
        settings=settings,
        readiness=readiness,
        metrics=metrics,
        routers=[build_router(endpoint, readiness, extensions), *routers],
        picture_routes=picture_routes,
        check_dependencies=check_dependencies,
        check_status=check_status,
        resources=resources,
        gates=gates,
        tracing=tracing,
        tls=tls,
    )
    return app


def _build_live_router(
    settings: InferenceSettings,
    metrics: Metrics,
    readiness: Readiness,
    models: Models,
    routes: Sequence[PictureRoute],
) -> APIRouter:
    process = LiveProcess(
        metrics,
        readiness,
        port=settings.port,
        routes=[*(route.path for route in routes), _GRPC_INFER],
        models=lambda: [_describe_model(version) for version in models.loaded],
    )
    return build_live_router(process)


def _describe_model(version: LoadedVersion) -> ModelSnapshot:
    engine = version.detector.engine
    return ModelSnapshot(**version.facts(), engine=engine.name, precision=engine.precision)
