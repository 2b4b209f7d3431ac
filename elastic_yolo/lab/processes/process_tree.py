"""What Linux says of a process and of all that it started: CPU, memory; and keeping them still."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat behind the name: man 5 proc.
_PARENT, _USER, _CHILDREN_SYSTEM = 1, 11, 14
_KB = 1024


@dataclass(frozen=True)
class Memory:
    """Of a process and its children. What processes share counts in each for RSS, once in PSS."""

    rss_mb: float
    pss_mb: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.rss_mb + other.rss_mb, self.pss_mb + other.pss_mb)


def family(root: int) -> list[int]:
    """Return a process and everything that it started, directly or not, if still there."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            children.setdefault(int(_stat(int(folder.name))[_PARENT]), []).append(int(folder.name))
    return list(_descend(root, children))


def cpu_s(root: int) -> float:
    """Return the CPU seconds that a process and its family have had, ended children included.

    The kernel counts in hundredths of a second.
    """
    ticks = 0
    for pid in family(root):
        with suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[_USER : _CHILDREN_SYSTEM + 1])
    return ticks * _TICK_S


def memory(root: int) -> Memory:
    """Return the memory of a process and its family, in millions of bytes."""
    total = Memory(0, 0)
    for pid in family(root):
        with suppress(OSError):
            sizes = dict(
                line.split(":", 1)
                for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
            )
            total += Memory(_mb(sizes["Rss"]), _mb(sizes["Pss"]))
    return total


def freeze(root: int) -> None:
    """Stop a process and its family, so that whatever spins in it takes nothing from others."""
    _signal(root, signal.SIGSTOP)


def thaw(root: int) -> None:
    """Let them go on."""
    _signal(root, signal.SIGCONT)


def _signal(root: int, number: signal.Signals) -> None:
    for pid in family(root):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _descend(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, []):
        yield from _descend(child, children)


def _stat(pid: int) -> list[str]:
    text = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    # The name stands in parentheses and may hold anything, even a parenthesis.
    return text.rpartition(")")[2].split()


def _mb(line: str) -> float:
    return int(line.split(maxsplit=1)[0]) * _KB / 1e6
