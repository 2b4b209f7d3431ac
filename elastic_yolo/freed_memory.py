"""Return memory that was freed to the kernel. See malloc_trim(3) and mallopt(3)."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

# Of glibc only.
_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
_mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_PAUSE_S = 0.25
# Of the event loop, which is the only thread that calls `return_freed_memory_soon`.
_scheduled_on: asyncio.AbstractEventLoop | None = None


def return_freed_memory() -> None:
    """Give back what malloc keeps for later allocations; takes some milliseconds.

    Building a network frees what it needed on the way: 700 MB for yolov3 without a cache, which
    malloc would keep, and which counts against a container's limit.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def return_freed_memory_soon() -> None:
    """Give it back in a quarter of a second, once for all calls until then.

    An attack: without it, a hundred endless uploads for a minute leave 65 MB, of which 5 are used.
    """
    global _scheduled_on  # noqa: PLW0603  # malloc is one for the process

    def return_memory() -> None:
        global _scheduled_on  # noqa: PLW0603
        _scheduled_on = None
        return_freed_memory()

    loop = asyncio.get_running_loop()
    if _scheduled_on is not loop:
        _scheduled_on = loop
        loop.call_later(_PAUSE_S, return_memory)


def keep_little_freed_memory() -> None:
    """Let malloc return buffers of 4 MB, and the end of the heap when 8 MB of it are free.

    By default, glibc raises both limits with each large buffer, up to 32 and 64 MB.
    """
    if _mallopt is not None:
        _mallopt(_M_MMAP_THRESHOLD, 4_000_000)
        _mallopt(_M_TRIM_THRESHOLD, 8_000_000)
