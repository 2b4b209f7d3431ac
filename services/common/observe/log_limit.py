"""Log lines that an outage or a caller could make endless: the first of each kind, then a count."""

from __future__ import annotations

import asyncio

from services.common.observe.logs import get_logger

LINES = 20
PERIOD_S = 10.0


class LogLimit:
    """Passes `LINES` lines of each kind in a period; then logs how many it held back.

    A kind is some words, of which there must be few at a time. All calls are on the event loop.
    """

    def __init__(self, period_s: float = PERIOD_S) -> None:
        """Count the lines of each kind for `period_s` seconds from its first one."""
        self._period_s = period_s
        self._counts: dict[tuple[str, ...], int] = {}

    def passes(self, *kind: str) -> bool:
        """Count a line, and return whether it is to be logged."""
        count = self._counts.get(kind, 0) + 1
        self._counts[kind] = count
        if count == 1:
            asyncio.get_running_loop().call_later(self._period_s, self._end_period, kind)
        return count <= LINES

    def _end_period(self, kind: tuple[str, ...]) -> None:
        held_back = self._counts.pop(kind) - LINES
        if held_back > 0:
            get_logger().warning(
                "log lines held back",
                kind=" ".join(filter(None, kind)),
                lines=held_back,
                period_s=self._period_s,
            )
