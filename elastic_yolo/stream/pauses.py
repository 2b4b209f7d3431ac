"""How long to wait before the next attempt: exponential back-off with jitter."""

from __future__ import annotations

import random

_FIRST_S = 0.2
_LONGEST_S = 10.0
# A receiver that asks for hours would stand for ever in a queue of its own making.
_LONGEST_ASKED_S = 60.0


class Pauses:
    """The pauses of one series of attempts, each twice as long as the one before."""

    def __init__(self, first_s: float = _FIRST_S, longest_s: float = _LONGEST_S) -> None:
        """Start with the shortest pause."""
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def next_s(self, asked_s: float | None = None) -> float:
        """Return the next pause in seconds; at least what the other end asked for.

        Between half of it and all of it, so that many clients do not come back at the same moment.
        """
        pause_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets
        self._next_s = min(2 * self._next_s, self._longest_s)
        return max(pause_s, min(asked_s or 0.0, _LONGEST_ASKED_S))

    def reset(self) -> None:
        """Start again with the shortest pause: an attempt has worked."""
        self._next_s = self._first_s
