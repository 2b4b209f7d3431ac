"""Progress of long-running commands: one updated line on a terminal, a few lines in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

_EVERY_S = 10.0
_REFRESH_S = 0.1
# Smaller amounts are printed in kB.
_LEAST_MB_BYTES = 100_000


def print_status(text: str) -> None:
    """Print a line on stderr and flush; stdout is for results only."""
    print(text, file=sys.stderr, flush=True)


def counted(number: int, noun: str) -> str:
    """Return `1 picture`, or `2,000 pictures`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def print_skipped(path: Path, error: Exception) -> None:
    """Print that a picture was skipped, and why."""
    print_status(f"skipped: {path.name}: {error}")


class ProgressLine:
    """Prints `what: done/total` on stderr; a total of 0 is unknown. An instance is a callback."""

    def __init__(self) -> None:
        """Start with nothing printed."""
        self._terminal = sys.stderr.isatty()
        self._shown = ""
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print the progress of a step; a log gets its start, its end and a line every 10 s."""
        line = f"{what}: {done}/{total}" if total else f"{what}: {done}"
        if self._terminal:
            end = "\n" if done == total else ""
            print(f"\r\033[K{line}", end=end, file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        new = not self._shown.startswith(f"{what}:")
        if new or done == total or now - self._shown_at > _EVERY_S:
            print_status(line)
            self._shown, self._shown_at = line, now


class TransferLine:
    """Prints the progress of a download in bytes on stderr: amount, rate, and time left.

    An instance is a progress callback; it prints as often as `ProgressLine` does.
    """

    def __init__(self) -> None:
        """Start with nothing printed."""
        self._terminal = sys.stderr.isatty()
        self._open = False
        self._what = ""
        self._began = (0.0, 0)
        self._shown_at = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print the progress of a download, of which `done` bytes of `total` are there."""
        now = time.monotonic()
        if what != self._what:
            # A resumed download begins with bytes that were not transferred now.
            self._what, self._began = what, (now, done)
            self._shown_at = now
        finished = 0 < total <= done
        if not finished and now - self._shown_at < (_REFRESH_S if self._terminal else _EVERY_S):
            return
        self._shown_at = now
        line = f"{what}: {transfer_state(done, total, done - self._began[1], now - self._began[0])}"
        if self._terminal:
            print(f"\r\033[K{line}", end="\n" if finished else "", file=sys.stderr, flush=True)
            self._open = not finished
        else:
            print_status(line)

    def say(self, text: str) -> None:
        """Print a line of text below the progress."""
        if self._open:
            print(file=sys.stderr)
        self._open, self._what = False, ""
        print_status(text)


class RateLine:
    """Prints the progress of work on pictures on stderr: how many, the rate, and the time left.

    A terminal's line is updated; a log gets a line every 10 s. A context manager, which ends the
    terminal's line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the time; nothing is printed yet."""
        self._line = StatusLine()
        self._clock = clock
        self._started = self._shown_at = clock()
        self._before: int | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave what was shown last above the lines that follow."""
        if self._line.terminal and self._shown:
            print(file=sys.stderr, flush=True)
        self._shown = ""

    def say(self, text: str) -> None:
        """Print a line of text; a terminal shows the progress below it again when there is some."""
        self._line.clear()
        print_status(text)

    def __call__(self, done: int, total: int, bad: int) -> None:
        """Print that `done` of `total` pictures are done, of which `bad` cannot be used."""
        now = self._clock()
        if self._before is None:
            # What an earlier run did is not part of this one's rate.
            self._before = done - 1
        every_s = _REFRESH_S if self._line.terminal else _EVERY_S
        if done < total and now - self._shown_at < every_s:
            return
        self._shown_at = now
        self._shown = rate_state(done, total, done - self._before, now - self._started)
        self._shown += f", {bad:,} bad" if bad else ""
        if self._line.terminal:
            self._line.show(self._shown)
        else:
            print_status(self._shown)


def rate_state(done: int, total: int, now_done: int, seconds: float) -> str:
    """Describe work on pictures, `now_done` of them in `seconds`: `120 of 500, 12.1 pictures/s`."""
    state = f"{done:,} of {counted(total, 'picture')}"
    if not seconds:
        return state
    rate = now_done / seconds
    left = f", {describe_seconds((total - done) / rate)} left" if done < total else ""
    return f"{state}, {rate:.1f} pictures/s{left}"


def describe_seconds(seconds: float) -> str:
    """Return a duration in words: `0.8 s`, `14 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def transfer_state(done: int, total: int, moved: int, seconds: float) -> str:
    """Describe a transfer that moved `moved` bytes in `seconds`: `12.3 of 35.4 MB, 3.1 MB/s, ...`.

    `total` is 0 if it is unknown.
    """
    scale, unit = _unit(max(done, total))
    amount = f"{done / scale:.1f} {unit}"
    if total:
        amount = f"{done / scale:.1f} of {total / scale:.1f} {unit}"
    if not moved or not seconds:
        return amount
    rate = moved / seconds
    left = f", {max(0, total - done) / rate:.0f} s left" if done < total else ""
    return f"{amount}, {rate / scale:.1f} {unit}/s{left}"


def transfer_size(size: int) -> str:
    """Return a number of bytes as text: `35.4 MB`, or `12.2 kB` for a small file."""
    scale, unit = _unit(size)
    return f"{size / scale:.1f} {unit}"


def _unit(size: int) -> tuple[float, str]:
    return (1e6, "MB") if size >= _LEAST_MB_BYTES else (1e3, "kB")


class StatusLine:
    """One line on stderr that a terminal redraws; a log gets none."""

    def __init__(self, *, shared: bool = False) -> None:
        """Start with nothing shown; a terminal that other processes write to is like a log."""
        self.terminal = sys.stderr.isatty() and not shared
        """Whether the line is shown."""

    def show(self, text: str) -> None:
        """Replace the line by `text`, cut to the terminal's width."""
        if self.terminal:
            # One column less: some terminals wrap a full line.
            cut = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{cut}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the line, so that other lines can follow."""
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
