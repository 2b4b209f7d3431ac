"""Runs a stack in the foreground: start, watch, and drain on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from elastic_yolo.lab.processes.stack import Service, Stack, StackError

_START_POLL_S = 0.1
_WATCH_POLL_S = 0.2
# timeout(1) signals a process, and then its group: that is one request to stop.
_ONE_SIGNAL_S = 0.02

Waiting = Mapping[str, float | None]
"""By name of a process: the seconds until it was ready, or None."""


class Supervisor:
    """Starts a stack, watches it and ends it; a signal requests the end, a second one kills.

    The stack's processes must be in sessions of their own: the order of the drain is ours.
    """

    def __init__(self, stack: Stack) -> None:
        """Prepare; nothing is started."""
        self._stack = stack
        self._signals = 0
        self._signalled_at = float("-inf")
        self._ended: set[int] = set()

    @property
    def stopping(self) -> bool:
        """Whether a signal has requested the end."""
        return self._signals > 0

    @property
    def killed(self) -> bool:
        """Whether a second signal has killed the services."""
        return self._signals > 1

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP within the context."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        # Under nohup the services outlive their terminal.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        former = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def wait_ready(self, show: Callable[[Waiting, float], None]) -> bool:
        """Wait until every process is ready; return False if a signal comes first.

        `show` gets the processes and the seconds since the start, at every poll. There is no time
        limit: a large model may take minutes. Raises StackError if a process ends.
        """
        began = time.monotonic()
        ready: dict[str, float | None] = dict.fromkeys(map(name_of, self._stack.services))
        while not self.stopping:
            for service in self._stack.services:
                if ready[name_of(service)] is None and service.has_started():
                    ready[name_of(service)] = time.monotonic() - began
            show(ready, time.monotonic() - began)
            if None not in ready.values():
                return True
            time.sleep(_START_POLL_S)
        return False

    def watch(self, report: Callable[[str], None], tick: Callable[[], None]) -> None:
        """Return when a signal requests the end; raises StackError when a tier has no process left.

        `report` gets a line for an inference process that ends while others remain. `tick` is
        called at every poll.
        """
        while not self.stopping:
            tick()
            for service in self._stack.services:
                if service.port in self._ended or service.process.poll() is None:
                    continue
                self._ended.add(service.port)
                if not self._stack.serves():
                    raise StackError(service.describe_end())
                report(f"{service.describe_end()}; the others go on")
            time.sleep(_WATCH_POLL_S)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._signalled_at < _ONE_SIGNAL_S:
            return
        self._signalled_at = now
        self._signals += 1
        if self.killed:
            self._stack.kill()


def name_of(service: Service) -> str:
    """Return a name that is unique among the processes of a stack."""
    return service.log.stem if service.log else f"{service.name} {service.port}"
