"""The routes of the web service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from elastic_yolo.picture.drawing import FORMATS, draw_boxes
from elastic_yolo.picture.header import check_pixels, read_header
from services.common.core.fast_lane import Lane
from services.common.peer import Peer
from services.common.queue.work_queue import WorkQueue
from services.common.request.body import Bodies
from services.common.request.context import RequestContext, context_of
from services.common.request.json_response import JsonResponse
from services.common.request.query import PARAMETERS, read_fractions, read_model_name
from services.web.admission import Admission
from services.web.picture_metrics import PictureMetrics
from services.web.upload import find_picture

PATH = "/inference"

# Nothing but the page's own inline script and style, and pictures that it made itself.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'"
)
# What a caller may send: told to the API documentation, read by `find_picture`.
_REQUEST_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "string", "format": "binary"}},
            }
        },
        "image/*": {"schema": {"type": "string", "format": "binary"}},
    },
}


@dataclass(frozen=True)
class Web:
    """What the routes work with."""

    preprocess: Peer
    admission: Admission
    bodies: Bodies
    drawing: WorkQueue
    max_body_bytes: int
    max_pixels: int
    metrics: PictureMetrics

    async def detect(
        self, context: RequestContext, picture: bytes, params: dict[str, str]
    ) -> dict[str, Any]:
        """Hand a picture to the preprocess service and return its answer."""
        header = read_header(picture)
        check_pixels(header, self.max_pixels)
        self.metrics.observe(len(picture), header)
        response = await self.preprocess.send(
            context,
            "POST",
            "/process",
            content=[picture],
            params=params,
            headers={"Content-Type": header.media_type},
        )
        answer = self.preprocess.read_json(response)
        if not isinstance(answer, dict) or not {"detections", "model", "image"} <= answer.keys():
            raise self.preprocess.invalid_response()
        return answer


def build_lane(web: Web) -> Lane:
    """Return the route that every picture takes."""

    async def inference(request: Request) -> Response:
        context = context_of(request.scope)
        params = {name: str(value) for name, value in read_fractions(request.query_params).items()}
        model = read_model_name(request.query_params)
        if model is not None:
            params["model"] = model
        async with web.bodies.receive(request, web.max_body_bytes) as body:
            picture = find_picture(body, request.headers.get("content-type"))
            # Counted from here on: an upload that takes its time keeps nobody else out.
            with web.admission.slot(context):
                answer = await web.detect(context, picture, params)
            context.name_model(answer["model"])
            wanted = wanted_picture(request.headers.get("accept", ""))
            if wanted is None:
                return JsonResponse(to_json(answer, context.uid))
            drawn = await web.drawing.run(
                context, lambda: draw_boxes(picture, answer["detections"], wanted)
            )
            return Response(drawn, media_type=wanted)

    return Lane(PATH, inference)


def build_router(lane: Lane) -> APIRouter:
    """Return the routes."""
    router = APIRouter(tags=["web"])
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    router.post(
        lane.path,
        summary="Detect objects in a picture",
        openapi_extra={"requestBody": _REQUEST_BODY, "parameters": PARAMETERS},
    )(lane.endpoint)

    @router.get("/", summary="A page to try it", response_class=HTMLResponse)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    return router


def to_json(answer: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return the answer in the shape that clients of the tutorial know."""
    return {
        "data": answer["detections"],
        "uid": uid,
        "success": "true",
        "model": answer["model"],
        "image": answer["image"],
    }


def wanted_picture(accept: str) -> str | None:
    """Return the picture type that the Accept header asks for, or None for JSON.

    A browser lists picture types behind text/html; only who asks for a picture first gets one.
    """
    first = accept.partition(",")[0].partition(";")[0].strip().lower()
    return first if first in FORMATS else None
