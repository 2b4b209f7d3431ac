"""Typed reading from untrusted YAML: a value of the wrong type is treated as missing."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

from elastic_yolo.quantity import parse_quantity

Step = str | int
Path = tuple[Step, ...]


def dig(tree: Any, *path: Step) -> Any:
    """Return the value at a path, or None."""
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
    """Return the mappings of a list, each with its index."""
    found = dig(tree, *path)
    entries = found if isinstance(found, list) else []
    return [(place, entry) for place, entry in enumerate(entries) if isinstance(entry, dict)]


def strings(tree: Any, *path: Step) -> list[str]:
    """Return the strings of a list."""
    found = dig(tree, *path)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def text(tree: Any, *path: Step) -> str:
    """Return the string at a path, or an empty one."""
    found = dig(tree, *path)
    return found if isinstance(found, str) else ""


def whole(tree: Any, *path: Step) -> int | None:
    """Return the integer at a path, or None."""
    found = dig(tree, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def quantity(value: Any) -> Fraction | None:
    """Parse a Kubernetes quantity, such as 250m, 1.5 or 2Gi; None if it is invalid."""
    try:
        return parse_quantity(value)
    except ValueError:
        return None


def seconds(value: Any) -> float | None:
    """Parse a number of seconds from an environment variable; None if it is invalid."""
    try:
        parsed = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return parsed if math.isfinite(parsed) else None


def share_of(value: Any, total: int, *, up: bool) -> int | None:
    """Return an IntOrString, such as 2 or "50%", as a part of `total`; None if it is invalid.

    A fraction is rounded up if `up` is set, else down.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,9}%", value):
        return None
    exact = Fraction(int(value[:-1]) * total, 100)
    return math.ceil(exact) if up else math.floor(exact)
