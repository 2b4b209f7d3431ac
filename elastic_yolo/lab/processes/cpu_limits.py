"""A pod's CPU limit for a process: `cpu.max` of a cgroup of its own, where that is allowed.

Source: the kernel's documentation of cgroup v2. Moving a process needs write permission for the
`cgroup.procs` of both groups and of their common ancestor, as on a desktop below user@.service.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_ROOT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_PERIOD_US = 100_000
# The smallest quota that the kernel accepts.
_LEAST_US = 1_000


@dataclass(frozen=True)
class CpuLimits:
    """A cgroup of our own, with one child group per process."""

    folder: Path

    @classmethod
    def find(cls, root: Path = _ROOT, own: Path = _OWN) -> Self | None:
        """Create a group where permitted; None if it is not permitted anywhere."""
        for parent in _candidates(root, own):
            limits = cls(parent / f"elastic-yolo-{os.getpid()}")
            try:
                limits.folder.mkdir()
                (limits.folder / "cgroup.subtree_control").write_text("+cpu")
                limits._try()
            except OSError:
                limits.close()
            else:
                return limits
        return None

    def place(self, pid: int, name: str, cpus: float) -> None:
        """Limit a process to `cpus` CPUs; raises OSError."""
        group = self.folder / name
        group.mkdir()
        quota_us = max(_LEAST_US, round(cpus * _PERIOD_US))
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
        (group / "cgroup.procs").write_text(str(pid))

    def remove(self, name: str) -> None:
        """Remove the group of an ended process."""
        with suppress(OSError):
            (self.folder / name).rmdir()

    def close(self) -> None:
        """Remove all groups; their processes must have ended."""
        with suppress(OSError):
            for group in self.folder.iterdir():
                if group.is_dir():
                    self.remove(group.name)
            self.folder.rmdir()

    def _try(self) -> None:
        """Move an idle process there; raises OSError."""
        with subprocess.Popen(["sleep", "60"]) as process:  # noqa: S607
            try:
                self.place(process.pid, "try", 1.0)
            finally:
                process.kill()
                process.wait()
                self.remove("try")


def _candidates(root: Path, own: Path) -> list[Path]:
    """Return the groups around our own whose children have a CPU controller, the nearest first."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return []
    mine = root / path.lstrip("/")
    found = []
    for folder in [mine, *mine.parents]:
        if not folder.is_relative_to(root):
            break
        with suppress(OSError):
            if "cpu" in (folder / "cgroup.subtree_control").read_text().split():
                found.append(folder)
    return found
