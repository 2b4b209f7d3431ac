"""The shapes of load: the number of users over time.

A shape is a function from the elapsed part of the run, 0 to 1, to a part of the peak, 0 to 1.
`users_at` converts seconds and users.
"""

from __future__ import annotations

import math
from collections.abc import Callable

# Pictures that a user sends per second.
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
    # The last quarter holds the peak, long enough to measure it.
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
    "ramp": "linear growth to the peak, which lasts for the last quarter",
    "spike": "a tenth of the peak, and the peak for a fifth of the time in the middle",
    "wave": f"{_DAYS} days; at night a tenth of the peak",
    "overload": "a quarter of the peak, the peak for three fifths of the time, a quarter again",
}


def users_at(shape: str, second: float, *, peak: int, duration_s: float) -> int | None:
    """Return the number of users `second` seconds after the start; None after the end.

    It is at least one and at most `peak`. Raises KeyError for an unknown shape and
    ValueError for a peak or a duration out of range.
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
