"""Signals that stop a long-running command in an orderly way."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

# Two signals within this time are one: `timeout` sends its signal to the process, and at once to
# its process group as well.
SAME_S = 0.5


@contextmanager
def stopped_by_signals() -> Iterator[Event]:
    """Set an event on SIGTERM and Ctrl-C; a later second one ends the process at once."""
    stop = Event()
    first_at: float | None = None

    def handle(number: int, _: object) -> None:
        nonlocal first_at
        now = time.monotonic()
        if first_at is None:
            first_at = now
            stop.set()
        elif now - first_at > SAME_S:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {one: signal.signal(one, handle) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
