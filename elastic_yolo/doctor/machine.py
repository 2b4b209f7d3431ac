"""This machine's free memory, and the processes that listen on its ports.

Sources: proc(5); the kernel's documentation of cgroup v2 (memory.max) and v1.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.machine import CGROUPS, PROC, read_lines, read_words

# The state of a listening socket in /proc/net/tcp.
_LISTEN = "0A"
# cgroup v1 has a number of about this size for "no limit".
_NO_LIMIT = 2**60


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port; `pid` is 0 if it belongs to another user."""

    pid: int
    command: str

    def __str__(self) -> str:
        """Return it as part of a sentence."""
        return f"{self.command} (process {self.pid})" if self.pid else "a process of another user"


def read_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> tuple[int, int | None]:
    """Return the free bytes of memory, and those that the container's limit leaves, or None."""
    free = 0
    for line in read_lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for limit, used in (
        (cgroups / "memory.max", cgroups / "memory.current"),
        (
            cgroups / "memory" / "memory.limit_in_bytes",
            cgroups / "memory" / "memory.usage_in_bytes",
        ),
    ):
        most, now = read_words(limit), read_words(used)
        if most and most[0].isdecimal() and int(most[0]) < _NO_LIMIT:
            taken = int(now[0]) if now and now[0].isdecimal() else 0
            return free, max(0, int(most[0]) - taken)
    return free, None


def is_taken(port: int) -> bool:
    """Tell whether a process listens on a port, on any address of this machine."""
    with socket.socket() as probe:
        # As the services do: a connection in TIME_WAIT does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def find_holder(port: int, proc: Path = PROC) -> Holder:
    """Return the process that listens on a port, as far as this user may see it."""
    inodes = {
        row[9]
        for table in ("tcp", "tcp6")
        for line in read_lines(proc / "net" / table)[1:]
        if len(row := line.split()) > 9
        and row[3] == _LISTEN
        and int(row[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.iterdir():
        if process.name.isdecimal() and wanted & _open_files(process):
            command = " ".join("".join(read_lines(process / "cmdline")).split("\0")).strip()
            return Holder(int(process.name), command[:80] or "a process without a name")
    return Holder(0, "")


def _open_files(process: Path) -> set[str]:
    found = set()
    # A process of another user, or one that has just ended.
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            # One that was closed meanwhile.
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found
