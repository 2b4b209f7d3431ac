"""Leaves room for ordinary pictures between the predictions of an explanation."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.common.request.context import Deadline

# A run that has begun delays the next picture. With a pause of nine times its duration after each
# prediction, they take a tenth of the time.
_PAUSES = 9
# A prediction may have waited long.
_MOST_PAUSE_S = 1.0
# Pictures that came longer ago say nothing about the next.
_TRAFFIC_S = 2.0


class Restraint:
    """Lets predictions run together, or one at a time with pauses while there are pictures."""

    def __init__(self) -> None:
        """Know of no picture."""
        self._picture_at = -math.inf
        self._one = asyncio.Lock()

    def note_picture(self) -> None:
        """Note that somebody wants a picture processed."""
        self._picture_at = time.monotonic()

    @asynccontextmanager
    async def slot(self, deadline: Deadline) -> AsyncIterator[None]:
        """Run the block, one prediction; pauses end at the deadline."""
        if not self._has_traffic():
            yield
            return
        async with self._one:
            began = time.monotonic()
            yield
            if self._has_traffic():
                pause_s = min((time.monotonic() - began) * _PAUSES, _MOST_PAUSE_S)
                await asyncio.sleep(max(0.0, min(pause_s, deadline.left_s)))

    def _has_traffic(self) -> bool:
        return time.monotonic() - self._picture_at < _TRAFFIC_S
