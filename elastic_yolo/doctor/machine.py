"""Facts about this machine, read from the kernel's own files.

Sources: proc(5); the kernel's documentation of cgroup v2 (cpu.max, memory.max) and v1.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# In /proc/net/tcp, the state of a socket that waits for connections.
_LISTEN = "0A"
# What cgroup v1 says for no limit is a number of about this size.
_NO_LIMIT = 2**60


@dataclass(frozen=True)
class Cpu:
    """A CPU's name, and the names of what it can do."""

    name: str
    features: frozenset[str]


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port; `pid` is 0 if that is not shown to us."""

    pid: int
    command: str

    def __str__(self) -> str:
        """Return it for a sentence."""
        return f"{self.command} (process {self.pid})" if self.pid else "a process of somebody else"


def read_cpu(machine: str, proc: Path = PROC) -> Cpu:
    """Return what the CPU is; `machine` is its name where the kernel says none."""
    facts: dict[str, str] = {}
    for line in _lines(proc / "cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags") or facts.get("Features") or ""
    return Cpu(facts.get("model name", machine), frozenset(flags.split()))


def read_quota(cgroups: Path = CGROUPS) -> float | None:
    """Return how many CPUs a container's quota allows, or None without one."""
    for quota, period in (
        (_words(cgroups / "cpu.max")[:1], _words(cgroups / "cpu.max")[1:]),
        (_words(cgroups / "cpu/cpu.cfs_quota_us"), _words(cgroups / "cpu/cpu.cfs_period_us")),
    ):
        if quota and period and quota[0].isdecimal() and period[0].isdecimal():
            return int(quota[0]) / int(period[0])
    return None


def read_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> tuple[int, int | None]:
    """Return the bytes of memory that are free, and what a container's limit leaves, or None."""
    free = 0
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for limit, used in (
        (cgroups / "memory.max", cgroups / "memory.current"),
        (
            cgroups / "memory" / "memory.limit_in_bytes",
            cgroups / "memory" / "memory.usage_in_bytes",
        ),
    ):
        most, now = _words(limit), _words(used)
        if most and most[0].isdecimal() and int(most[0]) < _NO_LIMIT:
            taken = int(now[0]) if now and now[0].isdecimal() else 0
            return free, max(0, int(most[0]) - taken)
    return free, None


def is_taken(port: int) -> bool:
    """Tell whether somebody listens on a port, on any address of this machine."""
    with socket.socket() as probe:
        # As the services do: connections that are about to end are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def find_holder(port: int, proc: Path = PROC) -> Holder:
    """Return who listens on a port, as far as this user may know it."""
    inodes = {
        row[9]
        for table in ("tcp", "tcp6")
        for line in _lines(proc / "net" / table)[1:]
        if len(row := line.split()) > 9
        and row[3] == _LISTEN
        and int(row[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.iterdir():
        if process.name.isdecimal() and wanted & _open_files(process):
            command = " ".join("".join(_lines(process / "cmdline")).split("\0")).strip()
            return Holder(int(process.name), command[:80] or "a process without a name")
    return Holder(0, "")


def _open_files(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            found.add(str(descriptor.readlink()))
    except OSError:
        # Of somebody else, or it has just ended.
        pass
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()
