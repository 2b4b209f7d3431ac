"""Reading from what somebody else wrote: whatever stands there, an answer and no exception."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

from elastic_yolo.quantity import parse_quantity

Step = str | int
Path = tuple[Step, ...]


def dig(tree: Any, *path: Step) -> Any:
    """Return what stands at a path, or None."""
    for step in path:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and 0 <= step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def mapping(tree: Any, *path: Step) -> dict[Any, Any]:
    """Return the mapping at a path, or an empty one."""
    found = dig(tree, *path)
    return found if isinstance(found, dict) else {}


def mappings(tree: Any, *path: Step) -> list[tuple[int, dict[Any, Any]]]:
    """Return the mappings of a list, each with its place in it."""
    found = dig(tree, *path)
    entries = found if isinstance(found, list) else []
    return [(place, entry) for place, entry in enumerate(entries) if isinstance(entry, dict)]


def strings(tree: Any, *path: Step) -> list[str]:
    """Return the texts of a list."""
    found = dig(tree, *path)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def text(tree: Any, *path: Step) -> str:
    """Return the text at a path, or an empty one."""
    found = dig(tree, *path)
    return found if isinstance(found, str) else ""


def whole(tree: Any, *path: Step) -> int | None:
    """Return the whole number at a path, or None."""
    found = dig(tree, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def quantity(value: Any) -> Fraction | None:
    """Return a Kubernetes quantity, such as 250m, 1.5 or 2Gi; None if the value is not one."""
    try:
        return parse_quantity(value)
    except ValueError:
        return None


def seconds(value: Any) -> float | None:
    """Parse a number of seconds, as an environment variable states it; None if it is none."""
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def share_of(value: Any, total: int, *, up: bool) -> int | None:
    """Return how many of `total` an IntOrString means, such as 2 or "50%"; None if it is neither.

    `up` says how a part of one is rounded.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,9}%", value):
        return None
    exact = Fraction(int(value[:-1]) * total, 100)
    return math.ceil(exact) if up else math.floor(exact)
