"""What belongs to one request: its id, its deadline, its timings."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from services.common.request.deadline import Deadline
from services.common.request.timings import Timings

if TYPE_CHECKING:
    from services.common.observe.tracing import RequestTrace

_VALID_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_KEY = "elastic_yolo.context"


@dataclass
class RequestContext:
    """Created once by the middleware; the deadline is set there as soon as it has been read."""

    request_id: str
    deadline: Deadline
    timings: Timings = field(default_factory=Timings)
    problem: str | None = None
    """Why the request was not answered, as the metrics call it."""
    trace: RequestTrace | None = None
    """None where nothing is traced."""

    @property
    def uid(self) -> str:
        """The request id as 32 hex digits."""
        return self.request_id.replace("-", "").lower()

    def name_model(self, facts: Mapping[str, str]) -> None:
        """Say which model answered, for the trace: its name, version and digest."""
        if self.trace is not None:
            self.trace.name_model(facts)

    def to_headers(self) -> dict[str, str]:
        """Return the headers that carry this request's identity and budget to the next tier."""
        return {"x-request-id": self.request_id, **self.deadline.to_header()}


def accept_request_id(sent: str | None) -> str:
    """Return the caller's request id if it is 32 hex digits or a UUID, otherwise a new one.

    Anything else could forge log lines or headers.
    """
    if sent is not None and _VALID_ID.fullmatch(sent):
        return sent
    return uuid.uuid4().hex


def attach_context(scope: MutableMapping[str, Any], context: RequestContext) -> None:
    """Store the context where `context_of` finds it."""
    scope[_KEY] = context


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """Return the context that the middleware attached."""
    return cast("RequestContext", scope[_KEY])


async def _from_request(request: Request) -> RequestContext:
    return context_of(request.scope)


Context = Annotated[RequestContext, Depends(_from_request)]
