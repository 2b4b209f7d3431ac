"""How late the event loop gets to what is due: every request waits at least as long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_EVERY_S = 0.5


async def measure_lag(observe: Callable[[float], None]) -> None:
    """Tell `observe` twice a second, until cancelled, by how many seconds the loop was late."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _EVERY_S
        await asyncio.sleep(_EVERY_S)
        observe(max(0.0, loop.time() - due))
