"""Check arguments that a caller of the library passes: each error is one line."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence

import numpy as np


def check_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        *others, last = map(repr, allowed)
        raise ValueError(f"{_assigned(name, value)}: expected {', '.join(others)} or {last}")


def check_fraction(name: str, value: object) -> None:
    """Raise TypeError for what is not a number, and ValueError for one that is not from 0 to 1."""
    expected = "expected a number from 0 to 1"
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise TypeError(f"{_assigned(name, value)}: {expected}")
    # Not `value < 0 or value > 1`: NaN is neither.
    if not 0 <= value <= 1:
        raise ValueError(f"{_assigned(name, value)}: {expected}")


def check_count(name: str, value: object, most: int) -> None:
    """Raise ValueError unless `value` is an integer from 1 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{_assigned(name, value)}: expected an integer from 1 to {most}")


def check_folder(name: str, value: object) -> None:
    """Raise ValueError unless `value` is the path of a folder, which need not exist, or None."""
    if value is not None and (not isinstance(value, str | os.PathLike) or not os.fspath(value)):
        raise ValueError(f"{_assigned(name, value)}: expected the path of a folder, or None")


def _assigned(name: str, value: object) -> str:
    # reprlib shortens it; the repr of an array has several lines.
    return f"{name}={' '.join(reprlib.repr(value).split())}"
