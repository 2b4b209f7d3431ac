"""Return memory that was freed to the kernel. See malloc_trim(3) and mallopt(3)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# Of glibc only.
_malloc_trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
_mallopt: Callable[[int, int], int] | None = getattr(ctypes.CDLL(None), "mallopt", None)
_M_ARENA_MAX = -8


def return_freed_memory() -> None:
    """Give back what malloc keeps for later allocations; takes some milliseconds.

    Building a network frees what it needed on the way: 700 MB for yolov3 without a cache, which
    malloc would keep, and which counts against a container's limit.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def use_one_malloc_arena() -> None:
    """Let all threads that start later allocate from the first arena.

    Glibc makes up to eight arenas for each core. malloc_trim returns the unused end of the first
    one only: 32 to 64 MB stay in each other one that has had large buffers.
    """
    if _mallopt is not None:
        _mallopt(_M_ARENA_MAX, 1)
