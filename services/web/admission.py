"""Admission: refuse a picture immediately if its result would be too late for its caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.core.picture_route import RefusedRoute
from services.common.observe.telemetry import QueueLoad
from services.common.queue import ServiceRate
from services.common.request.context import RequestContext, context_of
from services.common.request.errors import DeadlineExceeded, RemoteProblem

# The predicted wait is a mean, so half of all pictures take longer: use this part of the budget.
_SAFE_PART = 0.8
_LATE = (429, 504)


class Admission:
    """Compares a caller's remaining time with the predicted wait behind the pictures in flight."""

    def __init__(self, limit: int, rate: ServiceRate) -> None:
        """Admit at most `limit` pictures at a time, whatever their callers' deadlines."""
        self._limit = limit
        self._rate = rate

    @property
    def load(self) -> QueueLoad:
        """The pictures in flight, their limit, and the predicted wait."""
        return QueueLoad(self._rate.in_flight, self._limit, self._rate.wait_s())

    def require_slot(self, context: RequestContext) -> None:
        """Raise TooManyRequests if one more picture would be too late or exceed the limit."""
        budget_s = context.deadline.remaining_s() * _SAFE_PART
        self._rate.refuse_if_late(self._limit, budget_s, "pictures in flight")

    @contextmanager
    def slot(self, context: RequestContext) -> Iterator[None]:
        """Count a picture as in flight during the block; raises what `require_slot` raises."""
        self.require_slot(context)
        self._rate.begin()
        done = False
        try:
            yield
            done = True
        except (DeadlineExceeded, RemoteProblem) as error:
            if isinstance(error, DeadlineExceeded) or error.status in _LATE:
                # It was predicted to be in time: the next services are slower than measured.
                self._rate.drop_best_rate()
            raise
        finally:
            self._rate.end(done=done)


class AdmissionGate:
    """Refuses a picture before its body is read and before routing, to keep refusals cheap."""

    def __init__(self, app: ASGIApp, admission: Admission, path: str) -> None:
        """Guard POST requests to `path` of `app`."""
        self._app = app
        self._admission = admission
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or raise TooManyRequests or DeadlineExceeded."""
        if scope["type"] == "http" and scope["path"] == self._path and scope["method"] == "POST":
            # For the metrics of a refusal.
            scope["route"] = RefusedRoute(self._path)
            self._admission.require_slot(context_of(scope))
        await self._app(scope, receive, send)
