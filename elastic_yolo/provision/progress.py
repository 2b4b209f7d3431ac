"""Callbacks that receive the provisioner's progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Progress = Callable[[str, int, int], None]
"""Receives the current step, the amount done, and the total (0 if unknown)."""


@dataclass(frozen=True)
class ProgressReporter:
    """`progress` receives each step; `skipped` receives each unusable picture and its error.

    `passed_over` receives a line for each source that did not deliver, while another is left.
    """

    progress: Progress
    skipped: Callable[[Path, Exception], None]
    passed_over: Callable[[str], None]
