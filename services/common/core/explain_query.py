"""The query of `POST /explain`, which web and preprocess read alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from starlette.datastructures import QueryParams

from services.common.core.picture_route import PARAMETERS, read_model_name
from services.common.request.errors import ParameterOutOfRange

PATH = "/explain"
FACTS_HEADER = "X-Explanation"
"""Of a heat map: the JSON response without the map."""
LEAST_MASKS = 50
"""Fewer show nothing but noise: a request that has no time for them fails."""
MOST_MASKS = 5000
DEFAULT_MASKS = 500
# An unsigned integer of 32 bits.
_MOST_SEED = 2**32 - 1
_MOST_LABEL = 200
# Further than any picture reaches.
_MOST_PIXELS = 1e6

_MODEL = {
    **next(parameter for parameter in PARAMETERS if parameter["name"] == "model"),
    "description": "Name of the model; default: the service's default model.",
}

EXPLAIN_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "box",
        "in": "query",
        "required": True,
        "description": "Box of the detection to explain, as `/inference` returns it: centre x, "
        "centre y, width, height in pixels of the upright picture, with commas.",
        "schema": {"type": "string", "examples": ["382.5,310.2,120.4,98.7"]},
    },
    {
        "name": "label",
        "in": "query",
        "required": True,
        "description": "Label of that detection.",
        "schema": {"type": "string", "minLength": 1, "maxLength": _MOST_LABEL},
    },
    _MODEL,
    {
        "name": "masks",
        "in": "query",
        "required": False,
        "description": "Random masks, each of which costs a prediction.",
        "schema": {
            "type": "integer",
            "minimum": LEAST_MASKS,
            "maximum": MOST_MASKS,
            "default": DEFAULT_MASKS,
        },
    },
    {
        "name": "seed",
        "in": "query",
        "required": False,
        "description": "Number that the masks depend on: with the same one, they are the same.",
        "schema": {"type": "integer", "minimum": 0, "maximum": _MOST_SEED, "default": 0},
    },
]


@dataclass(frozen=True)
class ExplainQuery:
    """What to explain, and how."""

    box: tuple[float, float, float, float]
    """Centre x, centre y, width, height in pixels of the upright picture."""
    label: str
    model: str | None
    masks: int
    seed: int

    @classmethod
    def read(cls, query: QueryParams) -> Self:
        """Read a query whose names are known ones; raises ParameterOutOfRange."""
        return cls(
            box=_read_box(query.get("box", "")),
            label=_read_label(query.get("label", "")),
            model=read_model_name(query),
            masks=_read_whole(query, "masks", DEFAULT_MASKS, LEAST_MASKS, MOST_MASKS),
            seed=_read_whole(query, "seed", 0, 0, _MOST_SEED),
        )

    def to_params(self) -> dict[str, str]:
        """Return the query for the next service."""
        params = {
            "box": ",".join(map(str, self.box)),
            "label": self.label,
            "masks": str(self.masks),
            "seed": str(self.seed),
        }
        return params if self.model is None else {**params, "model": self.model}


def _read_box(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise ParameterOutOfRange(
            f"box: expected centre x, centre y, width and height with commas, found {text[:80]!r}"
        ) from None
    numbers = (x, y, width, height)
    in_range = all(math.isfinite(one) and abs(one) <= _MOST_PIXELS for one in numbers)
    if not in_range or width <= 0 or height <= 0:
        raise ParameterOutOfRange(
            f"box: expected pixels, with a width and a height above 0, found {text[:80]!r}"
        )
    return numbers


def _read_label(text: str) -> str:
    if not 0 < len(text) <= _MOST_LABEL:
        raise ParameterOutOfRange(f"label: expected 1 to {_MOST_LABEL} characters")
    return text


def _read_whole(query: QueryParams, name: str, default: int, least: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    # Longer ones are out of range, and slow to convert.
    is_number = text.isascii() and text.isdigit() and len(text) <= 20
    if not is_number or not least <= int(text) <= most:
        raise ParameterOutOfRange(
            f"{name}: expected a whole number from {least} to {most}, found {text[:40]!r}"
        )
    return int(text)
