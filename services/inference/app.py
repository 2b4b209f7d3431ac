"""Assemble the inference service."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from detector.detector import Detector
from services.common.app import build_app
from services.common.context import Context
from services.common.golden import require_agreement
from services.common.probes import Readiness
from services.common.telemetry import Metrics
from services.common.work_queue import WorkQueue
from services.inference.golden import as_found, prepare_golden
from services.inference.routes import Inference, build_router
from services.inference.settings import InferenceSettings


def create_app(settings: InferenceSettings, detector: Detector) -> FastAPI:
    """Return the service around a detector that is loaded."""
    readiness = Readiness()
    inference = Inference(
        detector=detector,
        golden=prepare_golden(detector),
        queue=WorkQueue("queue", workers=1, max_waiting=settings.max_queue),
        max_batch=settings.max_batch,
    )

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        yield
        inference.queue.close()

    async def check_dependencies() -> None:
        """Nothing lies behind this service."""

    async def check_status(context: Context) -> dict[str, Any]:
        picture = base64.b64decode(inference.golden.picture)
        found = await inference.queue.run(context, lambda: detector.detect(picture))
        require_agreement(inference.golden, as_found(found))
        model = detector.model
        return {
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "found": as_found(found),
        }

    return build_app(
        summary="Runs a Darknet network and answers the Open Inference Protocol v2.",
        settings=settings,
        readiness=readiness,
        metrics=Metrics("inference"),
        routers=[build_router(inference, readiness)],
        check_dependencies=check_dependencies,
        check_status=check_status,
        resources=resources,
    )
