"""Assemble the inference service."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from fastapi import FastAPI

from detector.boxes import name_detections
from detector.detector import Detector
from detector.errors import EngineError
from services.common.app import build_app
from services.common.body import Bodies
from services.common.context import Context
from services.common.golden import require_agreement
from services.common.logs import get_logger
from services.common.probes import Readiness
from services.common.telemetry import Metrics
from services.inference.golden import as_found, prepare_golden
from services.inference.protocol import InferRequest
from services.inference.routes import Inference, build_lanes, build_router
from services.inference.scheduler import Scheduler
from services.inference.settings import InferenceSettings

# With more streams of fewer threads a picture takes longer and longer, for less and less.
_MAX_STREAMS = 4


async def _split(scheduler: Scheduler) -> None:
    try:
        await scheduler.split()
    except EngineError as error:
        get_logger().warning("one request at a time", why=str(error))
    else:
        get_logger().info("ready for several at once", streams=scheduler.shares)


def create_app(settings: InferenceSettings, detector: Detector, threads: int) -> FastAPI:
    """Return the service around a detector that is loaded, whose engine has so many threads."""
    readiness = Readiness()
    inference = Inference(
        detector=detector,
        golden=prepare_golden(detector),
        scheduler=Scheduler(
            detector.engine,
            shares=settings.streams or min(threads, _MAX_STREAMS),
            max_waiting=settings.max_queue,
            max_batch=settings.max_batch,
        ),
        bodies=Bodies(settings.max_held_bytes),
        max_batch=settings.max_batch,
    )

    metrics = Metrics("inference")
    metrics.watch_queue("queue", lambda: inference.scheduler.waiting)
    lanes = build_lanes(inference)

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        splitting = asyncio.create_task(_split(inference.scheduler))
        yield
        await splitting
        inference.scheduler.close()

    async def check_dependencies() -> None:
        """Nothing lies behind this service."""

    async def check_status(context: Context) -> dict[str, Any]:
        picture = base64.b64decode(inference.golden.picture)
        model = detector.model
        image, box = await asyncio.to_thread(detector.prepare, picture)
        request = InferRequest(None, image[np.newaxis], None, None, binary_outputs=False)
        rows = await inference.find(context, request)
        found = name_detections(box.to_picture(rows[0]), model.labels)
        require_agreement(inference.golden, as_found(found))
        return {
            "model": {"name": model.name, "version": model.version, "digest": model.digest},
            "found": as_found(found),
        }

    return build_app(
        summary="Runs a Darknet network and answers the Open Inference Protocol v2.",
        settings=settings,
        readiness=readiness,
        metrics=metrics,
        routers=[build_router(inference, readiness, lanes)],
        lanes=lanes,
        check_dependencies=check_dependencies,
        check_status=check_status,
        resources=resources,
    )
