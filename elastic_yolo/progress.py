"""Progress of long-running commands: one updated line on a terminal, a few lines in a log."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_EVERY_S = 10.0


def print_status(text: str) -> None:
    """Print a line on stderr and flush; stdout is for results only."""
    print(text, file=sys.stderr, flush=True)


def print_skipped(path: Path, error: Exception) -> None:
    """Print that a picture was skipped, and why."""
    print_status(f"skipped: {path.name}: {error}")


class ProgressLine:
    """Prints `what: done/total` on stderr. An instance is a progress callback."""

    def __init__(self) -> None:
        """Start with nothing printed."""
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print the progress of a step; a log gets its start, its end and a line every 10 s."""
        line = f"{what}: {done}/{total}"
        if self._terminal:
            end = "\n" if done == total else ""
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        new = not self._shown.startswith(f"{what}:")
        if new or done == total or now - self._shown_at > _EVERY_S:
            print_status(line)
            self._shown, self._shown_at = line, now
