"""Load on a service, from callers that check every response."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import httpx

from tests.support.waiting import wait_until

CALLERS = 4
MOST_WAITING = 256
"""Requests of a steady load without a response; one that is due beyond them is sent later."""


class Load:
    """Callers in a closed loop, each with a connection of its own, or a steady rate."""

    def __init__(
        self, url: str, picture: bytes, is_right: Callable[[httpx.Response], bool]
    ) -> None:
        """Send nothing yet; `is_right` is called with every response of status 200."""
        self.statuses: list[int] = []
        """Of all responses; -1 stands for a wrong one of status 200."""
        self._url = url
        self._picture = picture
        self._is_right = is_right
        self._stop = Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the block ends."""
        with ThreadPoolExecutor(CALLERS) as threads:
            callers = [threads.submit(self._call) for _ in range(CALLERS)]
            try:
                yield
            finally:
                self._stop.set()
            for caller in callers:
                caller.result()

    @contextmanager
    def running_at(self, rate: float) -> Iterator[None]:
        """Send `rate` requests per second until the block ends, whether or not others are waiting.

        A request without a response counts as status 0.
        """
        with (
            httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None)) as client,
            ThreadPoolExecutor(MOST_WAITING) as threads,
            ThreadPoolExecutor(1) as clock,
        ):
            sending = clock.submit(self._send_steadily, client, threads, rate)
            try:
                yield
            finally:
                self._stop.set()
            for sent in sending.result():
                sent.result()

    def wait_for(self, responses: int) -> None:
        """Return after that many further responses."""
        enough = len(self.statuses) + responses
        wait_until(lambda: len(self.statuses) >= enough, f"{responses} more responses", 60)

    def _send_steadily(
        self, client: httpx.Client, threads: ThreadPoolExecutor, rate: float
    ) -> list[Future[None]]:
        sent, due = [], time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            sent.append(threads.submit(self._send_once, client))
            due += 1 / rate
        return sent

    def _send_once(self, client: httpx.Client) -> None:
        try:
            self._send(client)
        except httpx.HTTPError:
            self.statuses.append(0)

    def _call(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                self._send(client)

    def _send(self, client: httpx.Client) -> None:
        response = client.post(self._url, files={"image": self._picture})
        right = response.status_code != 200 or self._is_right(response)
        self.statuses.append(response.status_code if right else -1)
