"""Let a process end when its parent does, however that ends. See prctl(2), PR_SET_PDEATHSIG."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
# Of Linux only. Looked up here because `end_with_parent` may run between fork and exec.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def end_with_parent(parent: int, number: signal.Signals) -> bool:
    """Have the kernel send this process a signal when the thread of `parent` that started it ends.

    `parent` is a process id. Returns False if that process has ended already: no signal follows.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent
