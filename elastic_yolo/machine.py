"""This machine's CPU, and the CPU quota of the container that the process runs in.

Sources: proc(5); the kernel's documentation of cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us).
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Cpu:
    """A CPU's name, and its features as the kernel names them."""

    name: str
    features: frozenset[str]


def read_cpu(proc: Path = PROC, architecture: str | None = None) -> Cpu:
    """Return the CPU; where the kernel has no model name, the name is the architecture.

    Arm kernels report numbers of implementer and part instead, which are added to it.
    """
    facts: dict[str, str] = {}
    for line in read_lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    features = facts.get("flags") or facts.get("Features") or ""
    parts = [facts[key] for key in ("CPU implementer", "CPU part") if key in facts]
    name = facts.get("model name") or " ".join([architecture or platform.machine(), *parts])
    return Cpu(name, frozenset(features.split()))


def read_cpu_quota(cgroups: Path = CGROUPS) -> float | None:
    """Return the CPUs that the container's quota allows, or None without a quota."""
    v2 = read_words(cgroups / "cpu.max")
    v1 = [
        *read_words(cgroups / "cpu" / "cpu.cfs_quota_us"),
        *read_words(cgroups / "cpu" / "cpu.cfs_period_us"),
    ]
    for numbers in (v2, v1):
        # Without a quota the first one is "max" in v2, and -1 in v1.
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            quota, period = map(int, numbers)
            if quota and period:
                return quota / period
    return None


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def read_words(path: Path) -> list[str]:
    """Return the words of a file of the kernel; none if it cannot be read."""
    return " ".join(read_lines(path)).split()
