"""The routes of the preprocess service."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from services.common.body import Bodies
from services.common.context import Context
from services.common.golden import Golden
from services.preprocess.pipeline import Pipeline, Processed

Fraction = Annotated[float | None, Query(ge=0, le=1)]


def build_router(pipeline: Pipeline, bodies: Bodies, max_body_bytes: int) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["preprocess"])

    @router.post("/process", summary="Detect objects in a picture file")
    async def process(
        request: Request,
        context: Context,
        model: Annotated[str | None, Query(max_length=200)] = None,
        threshold: Fraction = None,
        iou: Fraction = None,
    ) -> dict[str, Any]:
        asked = {"threshold": threshold, "iou": iou}
        parameters = {name: value for name, value in asked.items() if value is not None}
        async with bodies.receive(request, max_body_bytes) as data:
            return to_json(await pipeline.process(context, data, model, parameters))

    @router.get("/golden", summary="A picture and what the model finds in it")
    async def golden(context: Context) -> Golden:
        info = await pipeline.models.get(context, None)
        return await pipeline.models.golden(context, info)

    return router


def to_json(processed: Processed) -> dict[str, Any]:
    """Return the answer of `/process`."""
    return {
        "detections": [
            [detection.label, detection.score, detection.box] for detection in processed.detections
        ],
        "model": {
            "name": processed.model,
            "version": processed.version,
            "digest": processed.digest,
        },
        "image": {"width": processed.width, "height": processed.height},
    }
