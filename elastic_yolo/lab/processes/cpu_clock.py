"""The CPU time of a process, as the operating system counts it."""

from __future__ import annotations

import subprocess
import sys
import time

# The clock type: time that the scheduler has given to all threads, in nanoseconds.
_SCHEDULED = 2


def cpu_s(pid: int) -> float | None:
    """Return the CPU seconds of all threads of a process; None if it has ended.

    Except on Linux they come from `ps`, which counts in hundredths of a second.
    """
    if sys.platform != "linux":
        return _from_ps(pid)
    try:
        # The number of the clock, as clock_getcpuclockid(3) forms it. /proc/<pid>/stat counts in
        # hundredths of a second: too coarse for the small CPU requests on a laptop.
        return time.clock_gettime((~pid << 3) | _SCHEDULED)
    except OSError:
        return None


def _from_ps(pid: int) -> float | None:
    listed = subprocess.run(  # noqa: S603  # a number of our own
        ["ps", "-o", "time=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return parse_ps_time(listed.stdout.strip()) if listed.returncode == 0 else None


def parse_ps_time(text: str) -> float:
    """Return the seconds of `[[days-]hours:]minutes:seconds`."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + int(days or 0) * 86_400
