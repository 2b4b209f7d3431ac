"""Load on a service, by callers who look at every answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import httpx

from tests.support.waiting import wait_until

CALLERS = 4


class Load:
    """Callers in a closed loop, each with a connection of its own, until they are told to stop."""

    def __init__(
        self, url: str, picture: bytes, is_right: Callable[[httpx.Response], bool]
    ) -> None:
        """Ask nothing yet; `is_right` is told of every answer with status 200."""
        self.statuses: list[int] = []
        """Of all answers; -1 is a wrong one."""
        self._url = url
        self._picture = picture
        self._is_right = is_right
        self._stop = Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ask until the block ends."""
        with ThreadPoolExecutor(CALLERS) as threads:
            callers = [threads.submit(self._call) for _ in range(CALLERS)]
            try:
                yield
            finally:
                self._stop.set()
            for caller in callers:
                caller.result()

    def wait_for(self, answers: int) -> None:
        """Return when so many more answers have come."""
        enough = len(self.statuses) + answers
        wait_until(lambda: len(self.statuses) >= enough, f"{answers} more answers", 60)

    def _call(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(self._url, files={"image": self._picture})
                right = answer.status_code != 200 or self._is_right(answer)
                self.statuses.append(answer.status_code if right else -1)
