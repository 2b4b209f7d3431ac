"""The picture whose answer is known, as it travels from tier to tier."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from elastic_yolo.picture.agreement import first_difference
from services.common.request.errors import RemoteProblem, Unavailable, UnknownModel

# Several processes do not switch to another version at the same moment.
_ATTEMPTS = 5

Found = tuple[str, float, list[float]]
"""Label, score, [centre x, centre y, width, height] in pixels of the picture."""


class Golden(BaseModel):
    """As the inference service publishes it."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str
    """Who must answer so: others may be served beside it."""
    picture: str
    """The file, base64."""
    expected: list[Found]
    tolerance_px: float
    tolerance_score: float


async def check_golden(
    ask: Callable[[], Awaitable[Golden]], predict: Callable[[Golden], Awaitable[dict[str, Any]]]
) -> dict[str, Any]:
    """Have the known picture predicted and return the answer, whose `detections` are right.

    Asks again where the version whose picture it is has just left. Raises what the two raise, and
    Unavailable for a wrong answer.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            golden = await ask()
            answer = await predict(golden)
        except UnknownModel:
            if attempt == _ATTEMPTS:
                raise
        except RemoteProblem as problem:
            if not problem.is_rejection or attempt == _ATTEMPTS:
                raise
        else:
            require_agreement(golden, answer["detections"])
            return answer
    raise AssertionError("the loop ends otherwise")


def require_agreement(golden: Golden, found: list[Found]) -> None:
    """Raise Unavailable with the first difference between an answer and the expected one."""
    difference = first_difference(
        golden.expected, found, px=golden.tolerance_px, score=golden.tolerance_score
    )
    if difference is not None:
        raise Unavailable(f"the prediction for the known picture is wrong: {difference}")
