"""Compare detections with expected ones, such as those of a golden picture."""

from __future__ import annotations

from collections.abc import Sequence

LabelledBox = tuple[str, float, Sequence[float]]
"""Label, score, (centre x, centre y, width, height) in pixels of the picture."""


def first_difference(
    expected: Sequence[LabelledBox], found: Sequence[LabelledBox], *, px: float, score: float
) -> str | None:
    """Return the first difference in words, or None if all detections agree within tolerance.

    `px` and `score` are the largest accepted differences of coordinates and scores; the order does
    not matter.
    """
    if len(found) != len(expected):
        return f"expected {len(expected)} objects, found {len(found)}"
    left = list(found)
    for wanted in expected:
        match = next((other for other in left if is_same(wanted, other, px=px, score=score)), None)
        if match is None:
            return f"no {wanted[0]} with score {wanted[1]:.3f} at {list(wanted[2])}"
        left.remove(match)
    return None


def is_same(one: LabelledBox, other: LabelledBox, *, px: float, score: float) -> bool:
    """Return whether label, score and box of two objects agree within tolerance."""
    return (
        one[0] == other[0]
        and abs(one[1] - other[1]) <= score
        and all(abs(a - b) <= px for a, b in zip(one[2], other[2], strict=True))
    )
