"""The golden picture: a picture with known detections, passed from service to service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from elastic_yolo.picture.agreement import first_difference
from services.common.request.errors import RemoteProblem, Unavailable, UnknownModel

# Retries while endpoints switch versions at different moments.
_ATTEMPTS = 5

Found = tuple[str, float, list[float]]
"""Label, score, [centre x, centre y, width, height] in pixels of the picture."""


class Golden(BaseModel):
    """A golden picture with its detections, as inference publishes it."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str
    """The version that the detections belong to; the service may serve others beside it."""
    picture: str
    """The file, base64."""
    expected: list[Found]
    tolerance_px: float
    tolerance_score: float


async def check_golden(
    request_golden: Callable[[], Awaitable[Golden]],
    predict: Callable[[Golden], Awaitable[dict[str, Any]]],
) -> dict[str, Any]:
    """Run a prediction on the golden picture and return its result, whose `detections` agree.

    Tries again if the version of the picture has just been replaced. Raises what the two functions
    raise, and Unavailable if the detections differ.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            golden = await request_golden()
            result = await predict(golden)
        except UnknownModel:
            if attempt == _ATTEMPTS:
                raise
        except RemoteProblem as problem:
            if not problem.is_rejection or attempt == _ATTEMPTS:
                raise
        else:
            require_agreement(golden, result["detections"])
            return result
    raise AssertionError("the last attempt returns or raises")


def require_agreement(golden: Golden, found: list[Found]) -> None:
    """Raise Unavailable with the first difference from the expected detections."""
    difference = first_difference(
        golden.expected, found, px=golden.tolerance_px, score=golden.tolerance_score
    )
    if difference is not None:
        raise Unavailable(f"the prediction for the golden picture is wrong: {difference}")
