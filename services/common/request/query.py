"""What callers may say in a query, with its description for the API's documentation."""

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
        "description": "Name of the model; the default one if it is left out. `ensemble:a+b` "
        "asks both and merges what they find.",
        "schema": {"type": "string", "maxLength": _MAX_NAME},
    },
    {
        "name": "threshold",
        "in": "query",
        "required": False,
        "description": "Lowest score of a box; the model's own if it is left out.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
    {
        "name": "iou",
        "in": "query",
        "required": False,
        "description": "Overlap from which of two boxes of a class the lower score goes.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
]

VERSION: dict[str, Any] = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "Version of the model; whichever serves if it is left out.",
    "schema": {"type": "string", "maxLength": _MAX_NAME},
}

# What may become part of a path.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def read_model_name(query: QueryParams) -> str | None:
    """Return the model that is asked for; raises ParameterOutOfRange."""
    name = query.get("model")
    if name is not None and len(name) > _MAX_NAME:
        raise ParameterOutOfRange(f"model: expected at most {_MAX_NAME} characters")
    return name


def read_version(query: QueryParams) -> str | None:
    """Return the version that is asked for; raises UnknownModel if none can be called so."""
    version = query.get("version")
    if version is not None and (len(version) > _MAX_NAME or not _WORD.fullmatch(version)):
        raise UnknownModel(f"no version {version[:80]!r} here")
    return version


def read_fractions(query: QueryParams) -> dict[str, float]:
    """Return `threshold` and `iou` as far as they are given; raises ParameterOutOfRange."""
    return {name: _fraction(name, query[name]) for name in ("threshold", "iou") if name in query}


def _fraction(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ParameterOutOfRange(f"{name}: expected a number from 0 to 1, found {text[:40]!r}")
    return value
