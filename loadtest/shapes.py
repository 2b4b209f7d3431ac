"""The shapes of load: how many users there are at which moment.

A shape is a function of the part of the run that is over, 0 to 1, and answers a part of the peak,
0 to 1. What is made of that, users at a second, is `users_at`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# Pictures that a user sends in a second.
PER_USER_S = 1.0
MAX_USERS = 10_000
MAX_DURATION_S = 86_400
MIN_DURATION_S = 5

_STEPS = 5
_DAYS = 2
_NIGHT = 0.1


def _step(over: float) -> float:
    return (math.floor(over * _STEPS) + 1) / _STEPS


def _ramp(over: float) -> float:
    # The last quarter is spent at the peak, so that there is something to see of it.
    return min(1.0, over / 0.75)


def _spike(over: float) -> float:
    return 1.0 if 0.4 <= over < 0.6 else 0.1


def _wave(over: float) -> float:
    day = (1 - math.cos(2 * math.pi * _DAYS * over)) / 2
    return _NIGHT + (1 - _NIGHT) * day


def _overload(over: float) -> float:
    return 1.0 if 0.2 <= over < 0.8 else 0.25


SHAPES: dict[str, Callable[[float], float]] = {
    "step": _step,
    "ramp": _ramp,
    "spike": _spike,
    "wave": _wave,
    "overload": _overload,
}
SUMMARIES = {
    "step": f"{_STEPS} levels of the same length, up to the peak",
    "ramp": "evenly up to the peak, which is held for the last quarter",
    "spike": "a tenth of the peak, and all of it for a fifth of the time in the middle",
    "wave": f"{_DAYS} days with quiet nights, a tenth of the peak",
    "overload": "a quarter of the peak, all of it for three fifths of the time, a quarter again",
}


def users_at(shape: str, second: float, *, peak: int, duration_s: float) -> int | None:
    """Return how many users there are `second` seconds after the start; None once it is over.

    Never less than one and never more than `peak`. Raises KeyError for an unknown shape and
    ValueError for a peak or a duration outside of the limits above.
    """
    if not 1 <= peak <= MAX_USERS:
        raise ValueError(f"{peak} users: expected 1 to {MAX_USERS}")
    if not MIN_DURATION_S <= duration_s <= MAX_DURATION_S:
        raise ValueError(
            f"a duration of {duration_s:g} s: expected {MIN_DURATION_S} to {MAX_DURATION_S}"
        )
    part = SHAPES[shape]
    if second >= duration_s:
        return None
    return min(peak, max(1, round(peak * part(max(0.0, second) / duration_s))))
