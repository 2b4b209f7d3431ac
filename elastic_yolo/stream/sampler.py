"""What changes without an event: lag and dropped frames for the metrics, progress for the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event

from elastic_yolo.stream.ends import Source
from elastic_yolo.stream.errors import StreamError
from elastic_yolo.stream.metrics import StreamMetrics

_LOG = logging.getLogger(__name__)
_EVERY_S = 5.0
_REPORT_S = 60.0


class Sampler:
    """Asks the sources every few seconds, in a thread, because one may take its time to answer.

    The log has a line soon after the first picture, and then every minute in which pictures were
    answered or wait.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        metrics: StreamMetrics,
        counts: Callable[[], tuple[int, int]],
    ) -> None:
        """Keep what is asked; `counts` returns how many pictures were answered and rejected."""
        self._sources = sources
        self._metrics = metrics
        self._counts = counts
        self._dropped = {id(source): 0 for source in sources}
        self._reported, self._reported_at, self._began_at = 0, 0.0, time.monotonic()

    def run(self, stop: Event) -> None:
        """Sample until the stop."""
        while True:
            self._report(sum(self._sample(source) or 0 for source in self._sources))
            if stop.wait(_EVERY_S):
                return

    def _sample(self, source: Source) -> int | None:
        """Note what a source knows; return its lag, None if that is unknown."""
        now = source.dropped
        self._metrics.dropped.labels(source.name).inc(now - self._dropped[id(source)])
        self._dropped[id(source)] = now
        lag = None
        with suppress(StreamError):
            lag = source.lag()
        if lag is not None:
            self._metrics.lag.labels(source.name).set(lag)
        return lag

    def _report(self, lag: int) -> None:
        (answered, rejected), now = self._counts(), time.monotonic()
        done = answered + rejected
        since = self._reported_at or self._began_at
        due = now - since >= _REPORT_S or (done and not self._reported_at)
        if not due or (done == self._reported and not lag):
            return
        rate = (done - self._reported) / max(now - since, 1e-9)
        refused = f", {rejected:,} rejected" if rejected else ""
        waiting = f"; lag {lag:,}" if lag else ""
        _LOG.info("%s pictures answered%s, %.1f/s%s", f"{answered:,}", refused, rate, waiting)
        self._reported, self._reported_at = done, now
