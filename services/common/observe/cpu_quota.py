"""The CPU quota of the container, which may be less than the host's cores.

Sources: the kernel's documentation of cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpu_quota(cgroups: Path = CGROUPS) -> float:
    """Return the CPU quota in cores; at most the number of CPUs in the process's affinity."""
    allowed = float(len(os.sched_getaffinity(0)))
    limit = _read_v2(cgroups) or _read_v1(cgroups)
    return allowed if limit is None else min(allowed, limit)


def thread_count(cgroups: Path = CGROUPS) -> int:
    """Return the quota rounded up: 1.5 cores are two threads, throttled a little."""
    return max(1, math.ceil(cpu_quota(cgroups)))


def _read_v2(cgroups: Path) -> float | None:
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _read_v1(cgroups: Path) -> float | None:
    try:
        quota = int((cgroups / "cpu" / "cpu.cfs_quota_us").read_text())
        period = int((cgroups / "cpu" / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return None if quota < 0 else quota / period
