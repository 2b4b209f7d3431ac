"""The routes of the web service."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import Histogram
from starlette.datastructures import Headers

from elastic_yolo.picture.drawn_types import FORMATS, JPEG, PNG
from elastic_yolo.picture.header import PictureHeader, check_pixels, read_header
from services.common.core.model_list import ModelList
from services.common.core.picture_route import (
    PARAMETERS,
    PictureRoute,
    picture_route,
    read_fractions,
    read_model_name,
    read_route_headers,
)
from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.request.body import Bodies, JsonResponse
from services.common.request.context import RequestContext, context_of
from services.common.request.model_headers import from_headers
from services.web.admission import Admission
from services.web.identity.rights import choose_model
from services.web.upload import find_body

PATH = "/inference"
MODELS_PATH = "/models"
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_TAG = "web"
_JSON = "application/json"
# Media ranges of an Accept header that are read; browsers send eight.
_MAX_RANGES = 32

REQUEST_BODY = {
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
"""What `find_body` accepts, for the OpenAPI schema."""

_BYTES = tuple(float(4**power) for power in range(6, 14))  # 4 KiB to 64 MiB
_PIXELS = (1e4, 1e5, 3e5, 1e6, 2e6, 4e6, 8e6, 1.6e7, 3.2e7, 6.4e7, 1e8)


class PictureMetrics:
    """Sizes of the pictures that were admitted."""

    def __init__(self, metrics: Metrics) -> None:
        """Add the histograms to the service's registry."""
        self._bytes = Histogram(
            "elastic_yolo_picture_bytes",
            "Size of each picture file in bytes.",
            buckets=_BYTES,
            registry=metrics.registry,
        )
        self._pixels = Histogram(
            "elastic_yolo_picture_pixels",
            "Width times height of each picture.",
            buckets=_PIXELS,
            registry=metrics.registry,
        )

    def count_picture(self, size: int, header: PictureHeader) -> None:
        """Count a picture of `size` bytes."""
        self._bytes.observe(size)
        self._pixels.observe(header.width * header.height)


@dataclass(frozen=True)
class Web:
    """The parts that the routes use."""

    preprocess: Peer
    admission: Admission
    bodies: Bodies
    max_body_bytes: int
    max_pixels: int
    metrics: PictureMetrics

    async def request_detections(
        self,
        context: RequestContext,
        picture: bytes,
        params: dict[str, str],
        forwarded: Mapping[str, str] = NO_HEADERS,
    ) -> dict[str, Any]:
        """Check a picture's header, send the picture to preprocess and return its response.

        `forwarded` are headers for preprocess.
        """
        response = await self.preprocess.send(
            context,
            "POST",
            "/process",
            content=[picture],
            params=params,
            headers={**forwarded, "Content-Type": self.check_picture(picture)},
        )
        processed = self.preprocess.read_json(response)
        if not isinstance(processed, dict) or not processed.keys() >= _RESPONSE_KEYS:
            raise self.preprocess.invalid_response()
        return processed

    async def request_drawing(
        self,
        context: RequestContext,
        picture: bytes,
        params: dict[str, str],
        picture_type: str,
        forwarded: Mapping[str, str],
    ) -> tuple[bytes, dict[str, str]]:
        """Return the picture with boxes as a file of `picture_type`, and the facts of the model."""
        response = await self.preprocess.send(
            context,
            "POST",
            "/process",
            content=[picture],
            params=params,
            headers={
                **forwarded,
                "Content-Type": self.check_picture(picture),
                "Accept": picture_type,
            },
        )
        if response.headers.get("content-type") != picture_type:
            raise self.preprocess.invalid_response()
        try:
            return response.content, from_headers(response.headers)
        except KeyError as error:
            raise self.preprocess.invalid_response() from error

    def check_picture(self, picture: bytes) -> str:
        """Check a picture's header, count the picture and return its media type."""
        header = read_header(picture)
        check_pixels(header, self.max_pixels)
        self.metrics.count_picture(len(picture), header)
        return header.media_type


_RESPONSE_KEYS = {"detections", "model", "image"}


_RESPONSE: dict[str, Any] = {
    "type": "object",
    "required": ["data", "uid", "success", "model", "image"],
    "properties": {
        "data": {
            "type": "array",
            "description": "The objects, best score first: label, score from 0 to 1, and box as "
            "centre x, centre y, width and height in pixels of the upright picture.",
            "items": {
                "type": "array",
                "prefixItems": [
                    {"type": "string"},
                    {"type": "number"},
                    {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                    },
                ],
                "minItems": 3,
                "maxItems": 3,
            },
            "examples": [[["bird", 0.9479, [382.5, 310.2, 120.4, 98.7]]]],
        },
        "uid": {"type": "string", "examples": ["0123456789abcdef0123456789abcdef"]},
        "success": {"type": "string", "const": "true"},
        "model": {
            "type": "object",
            "properties": {
                name: {"type": "string", "examples": [example]}
                for name, example in (
                    ("name", "yolov3-tiny"),
                    ("version", "1"),
                    ("digest", f"sha256:{'0' * 64}"),
                )
            },
        },
        "image": {
            "type": "object",
            "properties": {
                "width": {"type": "integer", "examples": [1024]},
                "height": {"type": "integer", "examples": [768]},
            },
        },
    },
}


def build_picture_route(web: Web) -> PictureRoute:
    """Return `POST /inference`."""

    async def inference(request: Request) -> Response:
        context = context_of(request.scope)
        context.may_be_held = True
        params = {name: str(value) for name, value in read_fractions(request.query_params).items()}
        model = read_model_name(request.query_params)
        if context.identity is not None:
            model = choose_model(context.identity, model)
        forwarded = forwarded_headers(context, request.headers)
        if model is not None:
            params["model"] = model
        body = find_body(request.headers.get("content-type"))
        async with web.bodies.receive_body(request, web.max_body_bytes, body.select) as kept:
            picture = body.finish(kept)
            picture_type = accepted_picture_type(",".join(request.headers.getlist("accept")))
            # Only now: a slow upload takes no slot from other callers.
            with web.admission.slot(context):
                if picture_type is None:
                    processed = await web.request_detections(context, picture, params, forwarded)
                    context.name_model(processed["model"])
                    return JsonResponse(to_json(processed, context.uid))
                drawn, facts = await web.request_drawing(
                    context, picture, params, picture_type, forwarded
                )
                context.name_model(facts)
                return Response(drawn, media_type=picture_type)

    return picture_route(
        PATH,
        inference,
        summary="Detect objects in a picture",
        tag=_TAG,
        parameters=PARAMETERS,
        request_body=REQUEST_BODY,
        response=_RESPONSE,
        picture_types=FORMATS,
    )


def build_model_router(preprocess: Peer) -> APIRouter:
    """Return `GET /models`."""
    router = APIRouter(tags=[_TAG])

    @router.get(MODELS_PATH, summary="The models that the caller may name")
    async def models(request: Request) -> ModelList:
        context = context_of(request.scope)
        headers = forwarded_headers(context, request.headers)
        response = await preprocess.send(context, "GET", "/models", headers=headers)
        listed = preprocess.read_model(ModelList, response)
        allowed = None if context.identity is None else context.identity.models
        return listed if allowed is None else listed.only(allowed)

    return router


def forwarded_headers(context: RequestContext, headers: Headers) -> dict[str, str]:
    """Return what preprocess may route by: the caller's X-Route-... headers and its tenant.

    None of the caller's other headers goes on. X-Tenant is web's: what a caller sends is ignored.
    Raises MalformedRequest for too many, or too long ones.
    """
    found = read_route_headers(headers)
    if context.identity is not None:
        found |= context.identity.to_header()
    return found


def to_json(processed: dict[str, Any], uid: str) -> dict[str, Any]:
    """Return the response of `/inference`; its keys are those of the first tutorial."""
    return {
        "data": processed["detections"],
        "uid": uid,
        "success": "true",
        "model": processed["model"],
        "image": processed["image"],
    }


def accepted_picture_type(accept: str, offered: Collection[str] = FORMATS) -> str | None:
    """Return the offered picture type that the Accept header prefers to JSON, or None for JSON.

    Weights are those of RFC 9110, section 12.5.1. Of equal ones, the type that the header names
    first wins, and JSON if one entry stands for both. A header with text/html is a browser's: it
    gets JSON. So does a header that accepts neither, because an answer is of more use than 406.
    """
    if accept in ("", "*/*"):
        return None
    ranges = _read_ranges(accept)
    if "text/html" in ranges:
        return None
    weights = {media_type: _weight(ranges, media_type) for media_type in (_JSON, *offered)}
    # The first of the best: JSON comes first, and max keeps the first.
    best = max(weights, key=weights.__getitem__)
    return best if best in offered and weights[best][0] > 0 else None


# Unregistered names that clients write.
_ALIASES = {"image/jpg": JPEG, "image/pjpeg": JPEG, "image/x-png": PNG}


def _read_ranges(accept: str) -> dict[str, tuple[float, int]]:
    """Return weight and negative position of each media range; an invalid weight is 1."""
    ranges: dict[str, tuple[float, int]] = {}
    for position, entry in enumerate(accept.split(",", _MAX_RANGES)[:_MAX_RANGES]):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weights = [text.partition("=") for text in parameters]
        weight = next((_read_weight(value) for key, _, value in weights if key.strip() == "q"), 1.0)
        ranges.setdefault(_ALIASES.get(name, name), (weight, -position))
    return ranges


def _read_weight(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0


def _weight(ranges: dict[str, tuple[float, int]], media_type: str) -> tuple[float, int]:
    """Return the entry that applies to a type: the most specific one."""
    kind = media_type.partition("/")[0]
    names = (media_type, f"{kind}/*", "*/*")
    return next((ranges[name] for name in names if name in ranges), (0.0, 0))
