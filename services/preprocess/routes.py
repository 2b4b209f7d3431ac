"""The routes of the preprocess service."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from services.common.core.golden import Golden
from services.common.core.picture_route import PictureRoute, picture_route
from services.common.request.body import Bodies
from services.common.request.context import Context, context_of
from services.common.request.json_response import JsonResponse
from services.common.request.query import (
    PARAMETERS,
    VERSION,
    read_fractions,
    read_model_name,
    read_version,
)
from services.preprocess.ensemble import detect
from services.preprocess.pipeline import DetectionRequest, Pipeline, Processed

PATH = "/process"
_TAG = "preprocess"
_REQUEST_BODY = {
    "required": True,
    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
}


def build_picture_route(pipeline: Pipeline, bodies: Bodies, max_body_bytes: int) -> PictureRoute:
    """Return the route that every picture takes."""

    async def process(request: Request) -> Response:
        context = context_of(request.scope)
        asked = DetectionRequest(
            model=read_model_name(request.query_params),
            version=read_version(request.query_params),
            parameters=read_fractions(request.query_params),
        )
        async with bodies.receive_body(request, max_body_bytes) as data:
            processed = await detect(pipeline, context, data, asked)
        answer = to_json(processed)
        context.name_model(answer["model"])
        return JsonResponse(answer)

    return picture_route(
        PATH,
        process,
        summary="Detect objects in a picture file",
        tag=_TAG,
        parameters=[*PARAMETERS, VERSION],
        request_body=_REQUEST_BODY,
    )


def build_router(pipeline: Pipeline) -> APIRouter:
    """Return the other routes."""
    router = APIRouter(tags=[_TAG])

    @router.get("/golden", summary="A picture and what the model finds in it")
    async def golden(context: Context) -> Golden:
        return await pipeline.models.golden(context)

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
