"""What a process has used of the CPU, as the operating system counts it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat behind the name: man 5 proc.
_USER, _SYSTEM = 11, 12


def cpu_s(pid: int) -> float | None:
    """Return the CPU seconds of all threads of a process, None if it is gone.

    Linux counts in hundredths of a second, and so does `ps` elsewhere.
    """
    if _PROC.joinpath("self", "stat").exists():
        return _from_proc(pid)
    return _from_ps(pid)


def _from_proc(pid: int) -> float | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, even a parenthesis.
    fields = text.rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")


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
