"""The picture whose answer is known, and how an answer is compared with it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

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
    difference = find_difference(golden, found)
    if difference is not None:
        raise Unavailable(f"the prediction for the known picture is wrong: {difference}")


def find_difference(golden: Golden, found: list[Found]) -> str | None:
    """Return the first difference in words, or None where everything lies within tolerance."""
    expected = golden.expected
    if len(found) != len(expected):
        return f"expected {len(expected)} objects, found {len(found)}"
    left = list(found)
    for label, score, box in expected:
        match = next((other for other in left if _agrees(golden, (label, score, box), other)), None)
        if match is None:
            return f"no {label} with score {score:.3f} at {box}"
        left.remove(match)
    return None


def _agrees(golden: Golden, expected: Found, found: Found) -> bool:
    return (
        expected[0] == found[0]
        and abs(expected[1] - found[1]) <= golden.tolerance_score
        and all(
            abs(a - b) <= golden.tolerance_px for a, b in zip(expected[2], found[2], strict=True)
        )
    )
