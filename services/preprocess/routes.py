"""The routes of the preprocess service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from elastic_yolo.picture.drawn_types import FORMATS
from services.common.core.golden import Golden
from services.common.core.model_list import ModelList
from services.common.core.picture_route import (
    PARAMETERS,
    VERSION,
    PictureRoute,
    picture_route,
    read_fractions,
    read_model_name,
    read_version,
)
from services.common.request.body import Bodies, JsonResponse
from services.common.request.context import Context, context_of
from services.common.request.model_headers import to_headers
from services.preprocess.drawing import Drawing
from services.preprocess.ensemble import process_ensemble
from services.preprocess.inference_client import DetectionRequest
from services.preprocess.pipeline import Pipeline, Processed

PATH = "/process"
_TAG = "preprocess"
REQUEST_BODY = {
    "required": True,
    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
}


def build_picture_route(
    pipeline: Pipeline,
    drawing: Drawing,
    bodies: Bodies,
    max_body_bytes: int,
    on_picture: Callable[[], None] | None = None,
) -> PictureRoute:
    """Return `POST /process`, which calls `on_picture` at the begin of each request."""

    async def process(request: Request) -> Response:
        context = context_of(request.scope)
        context.may_be_held = True
        if on_picture is not None:
            on_picture()
        wanted = DetectionRequest(
            model=read_model_name(request.query_params),
            version=read_version(request.query_params),
            parameters=read_fractions(request.query_params),
            headers=request.headers,
        )
        accepted = request.headers.get("accept")
        picture_type = accepted if accepted in FORMATS else None
        async with bodies.receive_body(request, max_body_bytes) as data:
            context.body_bytes = len(data)
            if picture_type is not None:
                drawing.check(data, picture_type)
            if wanted.is_for_ensemble:
                processed = await process_ensemble(pipeline, context, data, wanted)
            else:
                processed = await pipeline.process_picture(context, data, wanted)
            content = to_json(processed)
            context.name_model(content["model"])
            if picture_type is None:
                return JsonResponse(content)
            drawn = await drawing.draw(context, data, processed, picture_type)
        return Response(drawn, media_type=picture_type, headers=to_headers(content["model"]))

    return picture_route(
        PATH,
        process,
        summary="Detect objects in a picture file",
        tag=_TAG,
        parameters=[*PARAMETERS, VERSION],
        request_body=REQUEST_BODY,
        picture_types=FORMATS,
    )


def build_router(pipeline: Pipeline) -> APIRouter:
    """Return the other routes."""
    router = APIRouter(tags=[_TAG])

    @router.get("/golden", summary="The golden picture and its expected detections")
    async def golden(context: Context) -> Golden:
        return await pipeline.router.request_golden(context)

    @router.get("/models", summary="The models that a caller may name")
    async def models(request: Request) -> ModelList:
        return await pipeline.router.list_models(context_of(request.scope), request.headers)

    return router


def to_json(processed: Processed) -> dict[str, Any]:
    """Return the response of `/process`."""
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
