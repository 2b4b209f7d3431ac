"""Where the time of a request went, in the form of the W3C Server-Timing header."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from elastic_yolo.tiers import TIERS

_ENTRY = re.compile(r"([A-Za-z_]+);dur=([0-9.]+)")


class Timings:
    """The durations of one request, in milliseconds, in the order in which they ended."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        self._entries: dict[str, float] = {}
        self._behind: set[str] = set()
        self.on_phase: Callable[[str, float, float], None] | None = None
        """Told of what `record` is told, where the request is traced."""

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.record(name, started, time.perf_counter())

    def record(self, name: str, started: float, ended: float) -> None:
        """Add the time between two moments of `time.perf_counter`."""
        self.add(name, (ended - started) * 1000)
        if self.on_phase is not None:
            self.on_phase(name, started, ended)

    def add(self, name: str, milliseconds: float) -> None:
        """Add milliseconds to an entry."""
        self._entries[name] = self._entries.get(name, 0.0) + milliseconds

    def absorb(self, header: str | None) -> None:
        """Take over the entries of a Server-Timing header from the tier behind."""
        for name, duration in _ENTRY.findall(header or ""):
            self.add(name, float(duration))
            self._behind.add(name)

    def own(self) -> Iterator[tuple[str, float]]:
        """Return the entries, in milliseconds, that were measured here and not in a tier behind."""
        # A copy: a thread may still work on a request that nobody waits for any more.
        for name, duration in list(self._entries.items()):
            if name not in self._behind:
                yield name, duration

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the request began here."""
        return (time.perf_counter() - self._started) * 1000

    def header(self, tier: str) -> str:
        """Return the Server-Timing value; `tier`'s own time is what no tier behind it claims.

        The way over the network to the tier behind counts as the time of the one that waits.
        """
        # An entry with a tier's name is that tier's own time; every other is part of some tier's.
        behind = sum(self._entries.get(name, 0.0) for name in TIERS if name != tier)
        own = max(0.0, self.elapsed_ms() - behind)
        entries = {tier: own, **self._entries}
        return ", ".join(f"{name};dur={duration:.2f}" for name, duration in entries.items())
