"""A clock that stands still until a test moves it."""

from __future__ import annotations


class Clock:
    """Returns `now` when called, in seconds, as time.monotonic does."""

    def __init__(self) -> None:
        """Begin at an arbitrary time."""
        self.now = 100.0

    def __call__(self) -> float:
        return self.now
