"""Who may come in: a picture that would not be done in its caller's time is refused at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.observe.telemetry import QueueLoad
from services.common.queue.service_rate import ServiceRate
from services.common.request.context import RequestContext, context_of
from services.common.request.errors import DeadlineExceeded, RemoteProblem

# A prediction is a mean, and half of all would come after it: admit up to this part of the budget.
_SAFE_PART = 0.8
_LATE = (429, 504)


class Admission:
    """Compares a caller's budget with the time that the pictures in front will take."""

    def __init__(self, limit: int, rate: ServiceRate) -> None:
        """Admit `limit` pictures at a time, however long their callers would wait."""
        self._limit = limit
        self._rate = rate

    @property
    def load(self) -> QueueLoad:
        """How many pictures have been admitted and are not answered yet, of how many."""
        return QueueLoad(self._rate.in_flight, self._limit, self._rate.wait_s())

    def check(self, context: RequestContext) -> None:
        """Raise TooManyRequests if a picture that comes now would be too late or one too many."""
        budget_s = context.deadline.remaining_s() * _SAFE_PART
        self._rate.refuse_if_late(self._limit, budget_s, "pictures in flight")

    @contextmanager
    def slot(self, context: RequestContext) -> Iterator[None]:
        """Count a picture as on its way; raises what `check` does."""
        self.check(context)
        self._rate.begin()
        done = False
        try:
            yield
            done = True
        except (DeadlineExceeded, RemoteProblem) as error:
            if isinstance(error, DeadlineExceeded) or error.status in _LATE:
                # It was thought to fit and did not: what lies behind is slower than it was.
                self._rate.lower()
            raise
        finally:
            self._rate.end(done=done)


class _Route(NamedTuple):
    path: str


class Gate:
    """Refuses before the body is read: under a flood a refusal must cost next to nothing."""

    def __init__(self, app: ASGIApp, admission: Admission, path: str) -> None:
        """Guard POST requests to `path` of `app`."""
        self._app = app
        self._admission = admission
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or raise TooManyRequests or DeadlineExceeded."""
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "POST":
            scope["route"] = _Route(self._path)
            self._admission.check(context_of(scope))
        await self._app(scope, receive, send)
