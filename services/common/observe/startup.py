"""The duration of each phase between the start of a process and its readiness."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/self/stat")
# Field number of proc(5), which counts from 1. The program's name before it may contain blanks.
_STARTTIME = 22


class Startup:
    """Milliseconds of each phase; the first one begins with the process."""

    def __init__(self) -> None:
        """Read the start of the process from the kernel, to 0.01 s."""
        self._at = process_start()
        self.phases_ms: dict[str, int] = {}

    def done(self, phase: str) -> None:
        """End a phase now."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        # With several models a phase occurs several times.
        took_ms = round((now - self._at) * 1000)
        self.phases_ms[phase] = self.phases_ms.get(phase, 0) + took_ms
        self._at = now


def process_start() -> float:
    """Return when this process started, in seconds of CLOCK_BOOTTIME, to 0.01 s."""
    fields = _STAT.read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[_STARTTIME - 3]) / os.sysconf("SC_CLK_TCK")
