"""Progress of long work: one changing line on a terminal, a few lines in a log."""

from __future__ import annotations

import sys
import time
from pathlib import Path

_EVERY_S = 10.0


def say(text: str) -> None:
    """Print a line on stderr immediately: progress is not part of a command's result."""
    print(text, file=sys.stderr, flush=True)


def say_left_out(path: Path, error: Exception) -> None:
    """Report that a picture cannot be used, and why."""
    say(f"left out: {path.name}: {error}")


class ProgressLine:
    """Shows `what: done/total` on stderr; call it as a function with every progress."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show the progress; a log gets the first and the last line, and one every 10 s."""
        line = f"{what}: {done}/{total}"
        if self._terminal:
            end = "\n" if done == total else ""
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        new = not self._shown.startswith(f"{what}:")
        if new or done == total or now - self._shown_at > _EVERY_S:
            say(line)
            self._shown, self._shown_at = line, now
