"""The CPU metrics of pods as metrics-server has them: of a window, and late.

A container's CPU clock is read by the kubelet at irregular intervals. metrics-server asks every
kubelet for the last reading once per resolution, and the usage of a pod is the rate between the
readings of the last two scrapes. An autoscaler gets what the last scrape stored, however old.
Sources: kubernetes-sigs/metrics-server, pkg/storage/pod.go (Store, GetMetrics) and
pkg/server/server.go (runScrape); google/cadvisor, manager/container.go (nextHousekeepingInterval).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from elastic_yolo.lab.autoscaler.pods import Usage

RESOLUTION_S = 15.0
"""--metric-resolution as metrics-server's own manifests set it; minikube's addon has 60 s."""
LEAST_RESOLUTION_S = 10.0
"""metrics-server refuses less."""
READING_AGE_S = 8.0
"""Age of a reading when it is scraped: the mean for intervals of 10 to 20 s, which are random."""
FIRST_SCRAPE_S = 7.0
"""Nothing ties scrapes to the syncs of an autoscaler: half a sync period before the next sync."""
_FRESH_S = 10.0


@dataclass(frozen=True)
class Reading:
    """The CPU clock of a pod's container."""

    started_at: float
    at: float
    cpu_s: float


Readings = Mapping[str, Reading]
"""By the name of the pod."""


@dataclass
class MetricsServer:
    """Scrapes, and keeps what the last two scrapes found. It has no clock: call `advance`."""

    resolution_s: float = RESOLUTION_S
    first_s: float = FIRST_SCRAPE_S
    """When the first scrape is."""
    _last: Readings = field(default_factory=dict)
    _previous: Readings = field(default_factory=dict)
    _read: Readings | None = None
    """What the next scrape will find."""
    _scrapes: int = 0

    def prime(self, readings: Readings) -> None:
        """Start with pods that have used nothing since before the last two scrapes."""
        last_s = self.first_s - READING_AGE_S - self.resolution_s
        self._last = {name: replace(one, at=last_s) for name, one in readings.items()}
        self._previous = {
            name: replace(one, at=last_s - self.resolution_s) for name, one in readings.items()
        }

    def advance(self, now: float, read: Callable[[], Readings]) -> None:
        """Do what is due; call it at least once a second. `read` returns the readings of `now`."""
        scrape_s = self.first_s + self._scrapes * self.resolution_s
        if self._read is None and now >= scrape_s - READING_AGE_S:
            self._read = read()
        if self._read is not None and now >= scrape_s:
            self._store(self._read)
            self._read = None
            # As with a ticker, scrapes that were missed are not made up for.
            self._scrapes = int((now - self.first_s) // self.resolution_s) + 1

    def usages(self) -> dict[str, Usage]:
        """Return the usages by the name of the pod; a pod with one reading has none."""
        return {
            name: _usage(self._previous[name], last)
            for name, last in self._last.items()
            if name in self._previous
        }

    def _store(self, readings: Readings) -> None:
        previous = {}
        for name, one in readings.items():
            # The start is a reading of 0, if the pod is old enough for a rate.
            if _FRESH_S <= one.at - one.started_at < self.resolution_s:
                previous[name] = Reading(one.started_at, one.started_at, 0.0)
            elif name in self._last and self._last[name].at < one.at:
                previous[name] = self._last[name]
            elif name in self._previous:
                previous[name] = self._previous[name]
        self._last, self._previous = readings, previous


def _usage(previous: Reading, last: Reading) -> Usage:
    window_s = last.at - previous.at
    return Usage(round(1000 * (last.cpu_s - previous.cpu_s) / window_s), last.at, window_s)
