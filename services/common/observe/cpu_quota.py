"""The CPU quota of the container, which may be less than the host's cores."""

from __future__ import annotations

import math
import os
from pathlib import Path

from elastic_yolo.machine import CGROUPS, read_cpu_quota


def cpu_quota(cgroups: Path = CGROUPS) -> float:
    """Return the CPU quota in cores; at most the number of CPUs in the process's affinity."""
    allowed = float(len(os.sched_getaffinity(0)))
    limit = read_cpu_quota(cgroups)
    return allowed if limit is None else min(allowed, limit)


def thread_count(cgroups: Path = CGROUPS) -> int:
    """Return the quota rounded up: 1.5 cores are two threads, throttled a little."""
    return max(1, math.ceil(cpu_quota(cgroups)))
