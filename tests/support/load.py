"""Load on a service, from callers that check every response."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import httpx

from tests.support.waiting import wait_until

CALLERS = 4


class Load:
    """Callers in a closed loop, each with a connection of its own."""

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

    def wait_for(self, responses: int) -> None:
        """Return after that many further responses."""
        enough = len(self.statuses) + responses
        wait_until(lambda: len(self.statuses) >= enough, f"{responses} more responses", 60)

    def _call(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                response = client.post(self._url, files={"image": self._picture})
                right = response.status_code != 200 or self._is_right(response)
                self.statuses.append(response.status_code if right else -1)
