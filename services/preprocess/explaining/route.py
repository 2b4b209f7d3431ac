"""`POST /explain` of preprocess."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from fastapi import Request, Response

from elastic_yolo.detector.boxes import centre_boxes
from elastic_yolo.detector.saliency.heat_map import to_png
from elastic_yolo.detector.saliency.saliency_sum import to_grid
from elastic_yolo.picture.drawn_types import PNG
from services.common.core.explain_query import (
    EXPLAIN_PARAMETERS,
    FACTS_HEADER,
    PATH,
    ExplainQuery,
)
from services.common.core.picture_route import PictureRoute, picture_route
from services.common.request.body import Bodies, JsonResponse
from services.common.request.context import context_of
from services.common.request.errors import ParameterOutOfRange
from services.preprocess.explaining.explainer import BEST_PART, Explainer, Explanation
from services.preprocess.inference_client import DetectionRequest
from services.preprocess.routes import REQUEST_BODY

_TAG = "preprocess"
_DIGITS = 4


def build_explain_route(explainer: Explainer, bodies: Bodies, max_body_bytes: int) -> PictureRoute:
    """Return `POST /explain`."""

    async def explain(request: Request) -> Response:
        context = context_of(request.scope)
        context.may_be_held = True
        query = ExplainQuery.read(request.query_params)
        wanted = DetectionRequest(model=query.model, headers=request.headers)
        if wanted.is_for_ensemble:
            raise ParameterOutOfRange("model: one model is explained, not an ensemble")
        # Before the body as well, which may be long.
        explainer.require_free()
        async with bodies.receive_body(request, max_body_bytes) as data:
            context.body_bytes = len(data)
            explanation = await explainer.explain(context, data, query, wanted)
        context.name_model(explanation.model)
        facts = describe(explanation, query)
        if request.headers.get("accept") == PNG:
            drawn = await explainer.run(
                context.deadline,
                lambda: to_png(explanation.saliency, explanation.corners, explanation.picture),
            )
            return Response(drawn, media_type=PNG, headers={FACTS_HEADER: json.dumps(facts)})
        return JsonResponse({**facts, "map": describe_map(explanation)})

    return picture_route(
        PATH,
        explain,
        summary="Explain a detection with a saliency map",
        tag=_TAG,
        parameters=EXPLAIN_PARAMETERS,
        request_body=REQUEST_BODY,
        picture_types=[PNG],
    )


def describe(explanation: Explanation, query: ExplainQuery) -> dict[str, Any]:
    """Return all of the response but the map."""
    width, height = explanation.picture
    return {
        "label": query.label,
        "box": query.box,
        "score": _rounded(explanation.score),
        "masks": explanation.masks,
        "truncated": not explanation.is_complete,
        "seed": query.seed,
        "seconds": round(explanation.seconds, 3),
        "best": {
            "part": BEST_PART,
            "score_without": _rounded(explanation.score_without_best),
            "score_alone": _rounded(explanation.score_of_best),
        },
        "model": explanation.model,
        "image": {"width": width, "height": height},
    }


def describe_map(explanation: Explanation) -> dict[str, Any]:
    """Return the map as numbers, rows from top to bottom, and the box that it covers."""
    grid = to_grid(explanation.saliency).astype(float)
    rows = [[round(one, _DIGITS) for one in row] for row in grid.tolist()]
    (box,) = centre_boxes(explanation.corners[np.newaxis])
    return {"box": box, "width": len(rows[0]), "height": len(rows), "values": rows}


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, _DIGITS)
