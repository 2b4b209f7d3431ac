"""Requests that wait in memory while the next service has no endpoint that responds.

A process that was killed, or scaled to zero, is back within seconds: it costs less to keep a
picture for so long than to refuse it. How many wait, and with how many bytes, is bounded.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Gauge

from services.common.observe.telemetry import Metrics

_MAX_RETRY_AFTER_S = 60.0

HoldResult = Literal["sent", "expired", "cancelled", "refused"]
"""Values of the metric's label `result`."""


class HoldFull(Exception):
    """The limit on the number of held requests, or on their bytes, is reached."""


@dataclass(frozen=True)
class HoldLimits:
    """How long, how many and how much; a request beyond any of them is refused."""

    longest_s: float
    """Seconds that one request is held; with 0, none is."""
    most_requests: int
    most_bytes: int
    """Of the bodies of all held requests."""


class Hold:
    """The held requests of one process, for all the services behind it."""

    def __init__(
        self, limits: HoldLimits, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Hold nothing yet."""
        self.limits = limits
        self.phase = f"{metrics.service}_hold"
        """Name of the entry in Server-Timing."""
        self._clock = clock
        self._requests = 0
        self._bytes = 0
        self._stops = 0
        self._stopped_at = 0.0
        self._stopped_before_s = 0.0
        requests = Gauge(
            "elastic_yolo_requests_held",
            "Requests that wait because the next service has no endpoint that responds.",
            ("service",),
            registry=metrics.registry,
        )
        requests.labels(metrics.service).set_function(lambda: self._requests)
        held_bytes = Gauge(
            "elastic_yolo_held_request_bytes",
            "Bytes of the bodies of the requests that are held.",
            ("service",),
            registry=metrics.registry,
        )
        held_bytes.labels(metrics.service).set_function(lambda: self._bytes)

    @contextmanager
    def keep(self, size: int, count: Callable[[HoldResult], None]) -> Iterator[None]:
        """Count a request of `size` bytes as held during the block; raises HoldFull.

        `count` is called with the end of the hold.
        """
        limits = self.limits
        if self._requests >= limits.most_requests or self._bytes + size > limits.most_bytes:
            count("refused")
            raise HoldFull(f"{self._requests} requests of {self._bytes:,} bytes wait for it")
        self._requests += 1
        self._bytes += size
        result: HoldResult = "cancelled"
        try:
            yield
            result = "sent"
        except TimeoutError:
            result = "expired"
            raise
        finally:
            self._requests -= 1
            self._bytes -= size
            count(result)

    @contextmanager
    def stop_clock(self) -> Iterator[None]:
        """Let the working clock stand still during the block, in which no endpoint responds."""
        if self._stops == 0:
            self._stopped_at = self._clock()
        self._stops += 1
        try:
            yield
        finally:
            self._stops -= 1
            if self._stops == 0:
                self._stopped_before_s += self._clock() - self._stopped_at

    def working_clock(self) -> float:
        """Return the clock's seconds without those in which requests waited for an endpoint.

        A rate that is measured with it is that of the services while they could work.
        """
        now = self._stopped_at if self._stops else self._clock()
        return now - self._stopped_before_s


class Absence:
    """The time in which a service has no endpoint that responds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with a service that is there."""
        self._clock = clock
        self._began: float | None = None
        self._last_s = 0.0
        self._ended = asyncio.Event()
        self._waiting = 0
        self.awaited = asyncio.Event()
        """Set while anyone waits for the end."""

    @property
    def has_begun(self) -> bool:
        """Whether the service is absent now."""
        return self._began is not None

    def begin(self) -> bool:
        """Note that no endpoint responds; return whether that is new."""
        if self._began is not None:
            return False
        self._began = self._clock()
        return True

    def end(self) -> float | None:
        """Note that an endpoint responds; return how long the absence was, None without one."""
        if self._began is None:
            return None
        self._last_s = self._clock() - self._began
        self._began = None
        self._ended.set()
        self._ended = asyncio.Event()
        return self._last_s

    async def wait(self) -> None:
        """Return when an endpoint responds; waiting callers go on in the order of their calls."""
        if self._began is None:
            return
        self._waiting += 1
        self.awaited.set()
        try:
            await self._ended.wait()
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self.awaited.clear()

    def retry_after_s(self) -> float:
        """Return the expected seconds until the service is back, from 1 to 60.

        They are what is left of the length of the last absence. Without one, or after that time,
        an absence is expected to last once more what it has lasted.
        """
        passed_s = 0.0 if self._began is None else self._clock() - self._began
        left_s = self._last_s - passed_s if passed_s < self._last_s else passed_s
        return min(_MAX_RETRY_AFTER_S, max(1.0, left_s))
