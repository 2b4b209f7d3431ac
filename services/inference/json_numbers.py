"""Numbers of a tensor in JSON: a flat list, or lists within lists.

They are checked and converted in pieces. NumPy keeps all other threads from running, the event loop
too, for as long as one conversion takes. And in an array with texts, each element takes as much
memory as the longest; an attack: one of 100 KB, and thousands of short ones.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A conversion takes a few milliseconds.
_PIECE = 65_536
# Of a tensor with pictures: picture, row, pixel, value.
_MOST_DEPTH = 4


def to_array(data: Any) -> NDArray[Any]:
    """Return lists of numbers as an array; raises TypeError or ValueError for anything else."""
    return _to_array(data, _MOST_DEPTH)


def _to_array(data: Any, depth: int) -> NDArray[Any]:
    if not isinstance(data, list):
        raise TypeError("expected lists of numbers")
    if depth > 2 and _has_lists(data) and _has_lists(data[0]):
        return np.stack([_to_array(part, depth - 1) for part in data])
    pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
    return np.concatenate([_convert(piece) for piece in pieces])


def _has_lists(data: Any) -> bool:
    return isinstance(data, list) and bool(data) and isinstance(data[0], list)


def _convert(piece: list[Any]) -> NDArray[Any]:
    """Return a list of numbers, or a list of such lists."""
    kinds = set(map(type, piece))
    if kinds == {list}:
        kinds = set(map(type, chain.from_iterable(piece)))
    if not kinds <= {int, float}:
        raise ValueError("expected numbers")
    return np.array(piece)
