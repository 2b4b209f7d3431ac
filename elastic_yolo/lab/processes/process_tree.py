"""CPU and memory of a process and its descendants on Linux, and stopping them with SIGSTOP."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
# Fields of /proc/<pid>/stat after the name: man 5 proc.
_PARENT, _USER, _CHILDREN_SYSTEM = 1, 11, 14
_KB = 1024


@dataclass(frozen=True)
class Memory:
    """Memory of a process and its descendants; PSS counts what they share once, RSS in each."""

    rss_mb: float
    pss_mb: float

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.rss_mb + other.rss_mb, self.pss_mb + other.pss_mb)


def family(root: int) -> list[int]:
    """Return a process and its running descendants."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            children.setdefault(int(_stat(int(folder.name))[_PARENT]), []).append(int(folder.name))
    return list(_descend(root, children))


def cpu_s(root: int) -> float:
    """Return the CPU seconds of a process and its descendants, including ended children.

    The kernel counts in hundredths of a second.
    """
    ticks = 0
    for pid in family(root):
        with suppress(OSError):
            ticks += sum(int(field) for field in _stat(pid)[_USER : _CHILDREN_SYSTEM + 1])
    return ticks * _TICK_S


def memory(root: int) -> Memory:
    """Return the memory of a process and its descendants, in millions of bytes."""
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
    """Stop a process and its descendants, so that their busy loops use no CPU."""
    _signal(root, signal.SIGSTOP)


def thaw(root: int) -> None:
    """Continue them after `freeze`."""
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
    # The name is in parentheses and may contain any character, even a parenthesis.
    return text.rpartition(")")[2].split()


def _mb(line: str) -> float:
    return int(line.split(maxsplit=1)[0]) * _KB / 1e6
