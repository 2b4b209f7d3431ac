"""What a process has used of the CPU, as the operating system counts it."""

from __future__ import annotations

import subprocess
import sys
import time

# Which clock of a process: what the scheduler has given to all its threads, in nanoseconds.
_SCHEDULED = 2


def cpu_s(pid: int) -> float | None:
    """Return the CPU seconds of all threads of a process, None if it is gone.

    Elsewhere than on Linux `ps` is asked, which counts in hundredths of a second.
    """
    if sys.platform != "linux":
        return _from_ps(pid)
    try:
        # As clock_getcpuclockid(3) makes the number of the clock. /proc/<pid>/stat would count in
        # hundredths of a second: too coarse for the small requests of a laptop.
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return None


def _from_ps(pid: int) -> float | None:
    said = subprocess.run(  # noqa: S603  # a number of our own
        ["ps", "-o", "time=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return parse_ps_time(said.stdout.strip()) if said.returncode == 0 else None


def parse_ps_time(text: str) -> float:
    """Return the seconds of `[[days-]hours:]minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + int(days or 0) * 86_400
