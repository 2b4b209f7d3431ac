"""`POST /explain` of web: preprocess makes the saliency map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Request, Response

from elastic_yolo.picture.drawn_types import PNG
from services.common.core.explain_query import (
    EXPLAIN_PARAMETERS,
    FACTS_HEADER,
    PATH,
    ExplainQuery,
)
from services.common.core.picture_route import PictureRoute, picture_route
from services.common.request.body import JsonResponse
from services.common.request.context import context_of
from services.web.identity.rights import choose_model
from services.web.routes import (
    REQUEST_BODY,
    Web,
    accepted_picture_type,
    forwarded_headers,
)
from services.web.upload import find_body

_TAG = "web"
_SCORE = {"type": ["number", "null"]}
_RESPONSE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "label": {"type": "string", "examples": ["bird"]},
        "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        "score": {"type": "number", "description": "Of the detection in the whole picture."},
        "masks": {"type": "integer", "description": "Masks that were used."},
        "truncated": {
            "type": "boolean",
            "description": "Whether the time was over before all masks were used.",
        },
        "seed": {"type": "integer"},
        "seconds": {"type": "number"},
        "best": {
            "type": "object",
            "description": "A check of the map: `part` is the part of the picture with the highest "
            "values; `score_without` is the score without it, `score_alone` that of it alone. Both "
            "are null if no time was left.",
            "properties": {
                "part": {"type": "number"},
                "score_without": _SCORE,
                "score_alone": _SCORE,
            },
        },
        "model": {"type": "object"},
        "image": {"type": "object"},
        "map": {
            "type": "object",
            "description": "A grid over `box`, which is twice as wide and as high as the "
            "detection's, within the picture: rows from top to bottom of the score that each cell "
            "adds.",
            "properties": {
                "box": {"type": "array", "items": {"type": "number"}},
                "width": {"type": "integer"},
                "height": {"type": "integer"},
                "values": {
                    "type": "array",
                    "items": {"type": "array", "items": {"type": "number"}},
                },
            },
        },
        "uid": {"type": "string"},
    },
}
_RESPONSE["required"] = list(_RESPONSE["properties"])


def build_explain_route(web: Web) -> PictureRoute:
    """Return `POST /explain`.

    It takes no slot of admission: an explanation takes seconds, which says nothing about pictures.
    Preprocess runs one at a time.
    """

    async def explain(request: Request) -> Response:
        context = context_of(request.scope)
        context.may_be_held = True
        query = ExplainQuery.read(request.query_params)
        if context.identity is not None:
            query = replace(query, model=choose_model(context.identity, query.model))
        forwarded = forwarded_headers(context, request.headers)
        accepted = accepted_picture_type(",".join(request.headers.getlist("accept")), [PNG])
        if accepted == PNG:
            forwarded["Accept"] = PNG
        body = find_body(request.headers.get("content-type"))
        async with web.bodies.receive_body(request, web.max_body_bytes, body.select) as kept:
            picture = body.finish(kept)
            response = await web.preprocess.send(
                context,
                "POST",
                PATH,
                content=[picture],
                params=query.to_params(),
                headers={**forwarded, "Content-Type": web.check_picture(picture)},
            )
        if accepted == PNG:
            facts = response.headers.get(FACTS_HEADER.lower())
            if facts is None or response.headers.get("content-type") != PNG:
                raise web.preprocess.invalid_response()
            return Response(response.content, media_type=PNG, headers={FACTS_HEADER: facts})
        explained = web.preprocess.read_json(response)
        if not isinstance(explained, dict) or "map" not in explained:
            raise web.preprocess.invalid_response()
        return JsonResponse({**explained, "uid": context.uid})

    return picture_route(
        PATH,
        explain,
        summary="Explain a detection with a saliency map",
        tag=_TAG,
        parameters=EXPLAIN_PARAMETERS,
        request_body=REQUEST_BODY,
        response=_RESPONSE,
        picture_types=[PNG],
    )
