"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random

_FIRST_S = 1.0
_MOST_S = 30.0


class Backoff:
    """Doubles the wait with each attempt: from 1 s to 30 s, each shortened by up to a quarter.

    By chance, so that cameras which failed together are not all asked at the same moment.
    """

    def __init__(self) -> None:
        """Begin with the shortest wait."""
        self._next_s = _FIRST_S

    def next_s(self) -> float:
        """Return how many seconds to wait now."""
        wait_s = self._next_s * random.uniform(0.75, 1)  # noqa: S311  # no secret depends on it
        self._next_s = min(_MOST_S, 2 * self._next_s)
        return wait_s

    def reset(self) -> None:
        """Begin again: it worked."""
        self._next_s = _FIRST_S
