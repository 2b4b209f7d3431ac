"""The prediction behind `/health/status`: made once for all who ask, and kept for some seconds.

The route needs no token and passes no admission, so a flood of it must not become predictions.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from services.common.core.problems import is_expected
from services.common.observe.logs import get_logger
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, Unavailable

StatusCheck = Callable[[RequestContext], Awaitable[dict[str, Any]]]
"""Runs a real prediction and returns its detections; raises ServiceError if they are wrong."""

# How long a result is given to further callers, in seconds: a failure shorter, so that a service
# that works again is seen soon.
FRESH_S = 5.0
FRESH_FAILURE_S = 1.0


@dataclass(frozen=True)
class _Result:
    """The outcome of one check; `at_s` is when it ended, in seconds of the clock."""

    at_s: float
    found: dict[str, Any]
    error: Exception | None = None

    def is_fresh(self, now: float) -> bool:
        return now - self.at_s < (FRESH_S if self.error is None else FRESH_FAILURE_S)


class SharedStatus:
    """Runs `check` when its last result is too old; all callers of that time share the next one."""

    def __init__(
        self, check: StatusCheck, longest_ms: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """A check may take `longest_ms` milliseconds, whatever the deadlines of its callers."""
        self._check = check
        self._longest_ms = longest_ms
        self._clock = clock
        self._last: _Result | None = None
        self._running: asyncio.Task[_Result] | None = None

    async def read(self, context: RequestContext) -> dict[str, Any]:
        """Return what the check found, and the result's age in seconds as `age_s`.

        Raises what the check raised, and DeadlineExceeded at the caller's deadline: the check goes
        on for the others.
        """
        result = self._last
        if result is None or not result.is_fresh(self._clock()):
            result = await self._wait_for_check(context)
        if result.error is not None:
            # Without the traceback, which every further caller would lengthen.
            raise result.error.with_traceback(None)
        return {"age_s": round(max(0.0, self._clock() - result.at_s), 1), **result.found}

    def close(self) -> None:
        """Cancel a running check."""
        if self._running is not None:
            self._running.cancel()

    async def _wait_for_check(self, context: RequestContext) -> _Result:
        if self._running is None:
            # With the id, the trace and the timings of the caller that starts it.
            checking = replace(context, deadline=Deadline.after_ms(self._longest_ms))
            self._running = asyncio.create_task(self._run_check(checking))
        try:
            async with asyncio.timeout(context.deadline.remaining_s()):
                # A caller that leaves must not cancel it for the others.
                return await asyncio.shield(self._running)
        except TimeoutError:
            raise DeadlineExceeded("the status was not known in time") from None

    async def _run_check(self, context: RequestContext) -> _Result:
        found: dict[str, Any] = {}
        error: Exception | None = None
        try:
            found = await self._check(context)
        except Exception as failed:  # noqa: BLE001  # whatever it is, it is the result
            error = failed
            if not is_expected(failed):
                # Its traceback is logged once, not for every caller.
                get_logger().exception("the status check failed", uid=context.uid)
                error = Unavailable("the status check failed; the service's log has the details")
        finally:
            self._running = None
        self._last = _Result(self._clock(), found, error)
        return self._last
