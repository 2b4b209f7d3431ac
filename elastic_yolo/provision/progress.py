"""Whom the provisioner tells how far it is, and what it had to leave out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is (0: not known)."""


@dataclass(frozen=True)
class ProgressReporter:
    """`left_out` is told of each picture that cannot be used, and why."""

    progress: Progress
    left_out: Callable[[Path, Exception], None]
