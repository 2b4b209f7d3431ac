"""How many pictures may be on their way at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.common.errors import TooManyRequests


class Admission:
    """A counter with a limit: who comes too late is told at once, not kept waiting."""

    def __init__(self, limit: int) -> None:
        """Admit `limit` requests at a time."""
        self._limit = limit
        self._in_flight = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot; raises TooManyRequests if there is none."""
        if self._in_flight >= self._limit:
            raise TooManyRequests(f"{self._limit} pictures are on their way already", 1)
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
