"""Where the time goes from the start of a process until it is ready."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/self/stat")
# Counted from 1 in proc(5), behind the name of the program, which may hold blanks.
_STARTTIME = 22


class Startup:
    """Milliseconds of each phase. The first one begins when the kernel began the process."""

    def __init__(self) -> None:
        """Take the start of the process from the kernel, to a hundredth of a second."""
        self._at = _process_start()
        self.phases_ms: dict[str, int] = {}

    def done(self, phase: str) -> None:
        """Say that a phase ends now."""
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        # With several models each phase comes several times.
        took_ms = round((now - self._at) * 1000)
        self.phases_ms[phase] = self.phases_ms.get(phase, 0) + took_ms
        self._at = now


def _process_start() -> float:
    fields = _STAT.read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[_STARTTIME - 3]) / os.sysconf("SC_CLK_TCK")
