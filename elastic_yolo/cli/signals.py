"""Signals that stop a long-running command in an orderly way."""

from __future__ import annotations

import signal
import time
from threading import Event
from typing import Any, Self

# Two signals within this time are one: `timeout` sends its signal to the process, and at once to
# its process group as well.
SAME_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and Ctrl-C set `stop`; a later second one ends the process at once."""

    def __init__(self, early: Exception | None = None) -> None:
        """With `early`, the first signal raises it, until `begin` is called."""
        self.stop = Event()
        self._early = early
        self._first_at = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Handle the signals."""
        self._before = {one: signal.signal(one, self._handle) for one in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        """Handle them as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin(self) -> Event:
        """Raise nothing from now on; return `stop`."""
        self._early = None
        for one in _SIGNALS:
            # Libraries that were loaded meanwhile, such as Ray, have handlers of their own.
            signal.signal(one, self._handle)
        return self.stop

    def _handle(self, number: int, _: object) -> None:
        now = time.monotonic()
        if not self.stop.is_set():
            self._first_at = now
            self.stop.set()
            if self._early is not None:
                raise self._early
        elif now - self._first_at > SAME_S:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)
