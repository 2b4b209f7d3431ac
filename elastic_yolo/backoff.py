"""How long to wait before the next attempt: exponential back-off with jitter, and Retry-After."""

from __future__ import annotations

import math
import random
import time
from email.utils import parsedate_to_datetime

# A server that asks for hours would stop a stream for ever.
_MOST_ASKED_S = 60.0


class Backoff:
    """The waits of one series of attempts, each twice as long as the one before.

    Each is shortened by up to a quarter, by chance, so that processes whose attempts failed
    together do not all try again at the same moment.
    """

    def __init__(self, first_s: float = 0.2, most_s: float = 10.0) -> None:
        """Begin with `first_s` seconds; no wait becomes longer than `most_s`."""
        self._first_s = self._next_s = min(first_s, most_s)
        self._most_s = most_s

    def next_s(self, asked_s: float | None = None) -> float:
        """Return how many seconds to wait now: as long as the server asks, a minute at most."""
        wait_s = self._next_s * random.uniform(0.75, 1)  # noqa: S311  # no secret depends on it
        self._next_s = min(self._most_s, 2 * self._next_s)
        return max(wait_s, min(asked_s or 0.0, _MOST_ASKED_S))

    @property
    def waited(self) -> bool:
        """Whether an attempt failed since the last one that worked."""
        return self._next_s > self._first_s

    def reset(self) -> None:
        """Begin again: an attempt worked."""
        self._next_s = self._first_s


def parse_retry_after(value: str | None) -> float | None:
    """Return how long a Retry-After asks to wait, RFC 9110, 10.2.3; None if it cannot be read."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    if not math.isfinite(seconds):
        return None
    return max(seconds, 0.0)
