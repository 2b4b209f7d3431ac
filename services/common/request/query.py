"""Query parameters of the picture routes, with their descriptions for the OpenAPI schema."""

from __future__ import annotations

import re
from typing import Any

from starlette.datastructures import QueryParams

from services.common.request.errors import ParameterOutOfRange, UnknownModel

_MAX_NAME = 200

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "model",
        "in": "query",
        "required": False,
        "description": "Name of the model; default: the service's default model. `ensemble:a+b` "
        "runs both and merges their detections.",
        "schema": {"type": "string", "maxLength": _MAX_NAME},
    },
    {
        "name": "threshold",
        "in": "query",
        "required": False,
        "description": "Lowest score of a box; default: the model's own threshold.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
    {
        "name": "iou",
        "in": "query",
        "required": False,
        "description": "Overlap (IoU) above which non-maximum suppression drops the box with the "
        "lower score; default: the model's own.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
]

VERSION: dict[str, Any] = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "Version of the model; default: any version that is served.",
    "schema": {"type": "string", "maxLength": _MAX_NAME},
}

# A version becomes part of a path, so it may contain nothing else.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read_model_name(query: QueryParams) -> str | None:
    """Return the parameter `model`; raises ParameterOutOfRange if it is too long."""
    name = query.get("model")
    if name is not None and len(name) > _MAX_NAME:
        raise ParameterOutOfRange(f"model: expected at most {_MAX_NAME} characters")
    return name


def read_version(query: QueryParams) -> str | None:
    """Return the parameter `version`; raises UnknownModel if it cannot be a version's name."""
    version = query.get("version")
    if version is not None and (len(version) > _MAX_NAME or not _WORD.fullmatch(version)):
        raise UnknownModel(f"unknown version {version[:80]!r}")
    return version


def read_fractions(query: QueryParams) -> dict[str, float]:
    """Return `threshold` and `iou` if the query has them; raises ParameterOutOfRange."""
    return {name: _fraction(name, query[name]) for name in ("threshold", "iou") if name in query}


def _fraction(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ParameterOutOfRange(f"{name}: expected a number from 0 to 1, found {text[:40]!r}")
    return value
