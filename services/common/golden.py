"""The picture whose answer is known, as it travels from tier to tier."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from picture.agreement import find_difference
from services.common.errors import Unavailable

Found = tuple[str, float, list[float]]
"""Label, score, [centre x, centre y, width, height] in pixels of the picture."""


class Golden(BaseModel):
    """As the inference service publishes it."""

    model_config = ConfigDict(frozen=True)

    picture: str
    """The file, base64."""
    expected: list[Found]
    tolerance_px: float
    tolerance_score: float


def require_agreement(golden: Golden, found: list[Found]) -> None:
    """Raise Unavailable with the first difference between an answer and the expected one."""
    difference = find_difference(
        golden.expected, found, px=golden.tolerance_px, score=golden.tolerance_score
    )
    if difference is not None:
        raise Unavailable(f"the prediction for the known picture is wrong: {difference}")
