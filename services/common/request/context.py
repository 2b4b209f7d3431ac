"""The context of one request: its id, its deadline and its timings."""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import Depends, Request

from elastic_yolo.tiers import TIERS
from services.common.request.errors import DeadlineExceeded, MalformedRequest
from services.common.request.host import host_name
from services.common.request.identity import Identity

if TYPE_CHECKING:
    from services.common.observe.tracing import RequestTrace

TIMEOUT_HEADER = "x-timeout-ms"
PRIORITY_HEADER = "x-priority"
"""Of a request to inference; its one value is BACKGROUND."""
BACKGROUND = "background"
TIME_OVER = "the time of the request is over (X-Timeout-Ms, or REQUEST_TIMEOUT_MS of a service)"
_VALID_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# What a description may have. No quote, comma or semicolon: also a reader that knows nothing of
# quoted strings finds where an entry ends.
_DESCRIPTION = r"[A-Za-z0-9 ._:/+@-]"
_MOST_DESCRIBED = 200
# The first branch passes over a quoted string that is no description of ours, with all that it
# looks like.
_TIMING = re.compile(
    r'"(?:[^"\\]|\\.)*"'
    r"|([A-Za-z_]+);dur=([0-9]{1,9}(?:\.[0-9]+)?)(?![0-9.])"
    rf'(?:;desc="({_DESCRIPTION}{{1,{_MOST_DESCRIBED}}})")?'
)
_NOT_DESCRIPTION = re.compile(_DESCRIPTION.replace("[", "[^", 1))
_JOIN = " + "
_KEY = "elastic_yolo.context"


@dataclass(frozen=True)
class Deadline:
    """The moment at which a caller stops waiting, in seconds of this process's monotonic clock."""

    at_s: float

    @classmethod
    def after_ms(cls, budget_ms: float) -> Deadline:
        """Return the deadline that is `budget_ms` milliseconds from now."""
        return cls(time.monotonic() + budget_ms / 1000)

    @classmethod
    def from_header(cls, value: str | None, longest_ms: int) -> Deadline:
        """Read X-Timeout-Ms; `longest_ms` is the upper limit, and the default.

        Raises MalformedRequest unless the value is a whole number of milliseconds.
        """
        if value is None:
            return cls.after_ms(longest_ms)
        if not (value.isascii() and value.isdigit() and len(value) <= 12):
            raise MalformedRequest(
                f"X-Timeout-Ms: expected a whole number of milliseconds, found {value[:40]!r}"
            )
        return cls.after_ms(min(int(value), longest_ms))

    @property
    def left_s(self) -> float:
        """The seconds left; 0 or negative once the deadline has passed."""
        return self.at_s - time.monotonic()

    def remaining_s(self) -> float:
        """Return the seconds left, which are above 0; raises DeadlineExceeded if there are none."""
        left = self.left_s
        if left <= 0:
            raise DeadlineExceeded("the request's deadline has passed")
        return left

    def to_header(self) -> dict[str, str]:
        """Return the header that gives the next service the remaining time."""
        return {TIMEOUT_HEADER: str(max(1, int(self.remaining_s() * 1000)))}


def hash_point(uid: str, total: int, purpose: bytes = b"") -> int:
    """Return a number below `total` that is always the same for a request id.

    Ids that count up, or share a prefix, spread evenly. Choices with different `purpose`, at most
    16 bytes, are independent: the ids that one choice selects are spread over all of another's.
    """
    digest = hashlib.blake2b(uid.encode(), digest_size=8, person=purpose).digest()
    # Scaled, not the remainder: multiplying all weights by one factor moves no id.
    return int.from_bytes(digest) * total >> 64


class Timings:
    """The phases of one request and their durations, for the W3C Server-Timing header."""

    def __init__(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()
        self._entries: dict[str, float] = {}
        self._absorbed: set[str] = set()
        self._descriptions: dict[str, str] = {}
        self.on_phase: Callable[[str, float, float], None] | None = None
        """If the request is traced: called with name, begin and end of each recorded phase."""

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Record the block as a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.record(name, started, time.perf_counter())

    def record(self, name: str, started: float, ended: float) -> None:
        """Record a phase; both moments are values of `time.perf_counter`."""
        self.add_ms(name, (ended - started) * 1000)
        if self.on_phase is not None:
            self.on_phase(name, started, ended)

    def add_ms(self, name: str, milliseconds: float) -> None:
        """Add milliseconds to an entry."""
        self._entries[name] = self._entries.get(name, 0.0) + milliseconds

    def absorb(self, header: str | None) -> None:
        """Add the entries of the next service's Server-Timing header."""
        for name, duration, description in _TIMING.findall(header or ""):
            if not name:
                continue
            self.add_ms(name, float(duration))
            self._absorbed.add(name)
            if description:
                self.describe(name, description)

    def describe(self, name: str, text: str) -> None:
        """Say of an entry what or who took the time; characters that it cannot have become `_`.

        An entry may have several descriptions: of an ensemble's models, or of two attempts.
        """
        text = _NOT_DESCRIPTION.sub("_", text)
        before = self._descriptions.get(name)
        if before is not None:
            if text in before.split(_JOIN):
                return
            text = before + _JOIN + text
        if len(text) <= _MOST_DESCRIBED:
            self._descriptions[name] = text

    def own_phases(self) -> Iterator[tuple[str, float]]:
        """Yield name and milliseconds of the phases that this service measured itself."""
        # A copy: after a deadline a worker thread may still add to the timings.
        for name, duration in list(self._entries.items()):
            if name not in self._absorbed:
                yield name, duration

    def elapsed_ms(self) -> float:
        """Return the milliseconds since the request arrived here."""
        return (time.perf_counter() - self._started) * 1000

    def to_header(self, tier: str) -> str:
        """Return the Server-Timing value; the entry `tier` is its own time without later tiers'.

        The network between two services counts for the one that waits. The entry `tier` is
        described by the name of this host.
        """
        # An entry with a tier's name is that tier's own time; all others are parts of a tier's.
        behind = sum(self._entries.get(name, 0.0) for name in TIERS if name != tier)
        own = max(0.0, self.elapsed_ms() - behind)
        entries = {tier: own, **self._entries}
        self.describe(tier, host_name())
        return ", ".join(
            f"{name};dur={duration:.2f}{self._to_parameter(name)}"
            for name, duration in entries.items()
        )

    def _to_parameter(self, name: str) -> str:
        description = self._descriptions.get(name)
        return "" if description is None else f';desc="{description}"'


@dataclass(frozen=True)
class PeerFailure:
    """How the next service failed a request, for the log: addresses are not for callers."""

    peer: str
    """Name of the service."""
    endpoint: str
    """Address of the process, or empty if none is known."""
    why: str


@dataclass
class RequestContext:
    """What a request carries through a service; RequestMiddleware creates it."""

    request_id: str
    deadline: Deadline
    timings: Timings = field(default_factory=Timings)
    problem: str | None = None
    """The reason of a failed request, as a metric label."""
    detail: str | None = None
    """What the response of a failed request says."""
    peer_failure: PeerFailure | None = None
    """The last failure of the next service; the request may have succeeded since."""
    trace: RequestTrace | None = None
    """None if traces are off."""
    may_be_held: bool = False
    """Whether the request waits while the next service has no endpoint: it is for a picture."""
    is_background: bool = False
    """Whether it runs only when no other request waits for the network."""
    is_head: bool = False
    """Whether the caller wants the headers alone; routes see a GET request."""
    body_bytes: int = 0
    """Of the picture file, while it is in memory."""
    identity: Identity | None = None
    """The caller; None if the service does not ask, or has not asked yet."""
    check_identity: Callable[[], Awaitable[None]] | None = None
    """Raises Unauthorized if the caller is no longer known: for responses that go on for long."""
    response_headers: dict[str, str] = field(default_factory=dict)
    """Headers that the response carries, whatever its status."""

    @property
    def uid(self) -> str:
        """The request id as 32 hex digits."""
        return self.request_id.replace("-", "").lower()

    def identify(self, identity: Identity) -> None:
        """Note who sent the request."""
        self.identity = identity
        if self.trace is not None:
            self.trace.name_client(identity.client)

    def name_model(self, facts: Mapping[str, str]) -> None:
        """Give the trace name, version and digest of the model that made the prediction."""
        if self.trace is not None:
            self.trace.name_model(facts)

    def to_headers(self) -> dict[str, str]:
        """Return the headers that give the next service the request's id and remaining time.

        And its priority, if it is a background request.
        """
        priority = {PRIORITY_HEADER: BACKGROUND} if self.is_background else {}
        return {"x-request-id": self.request_id, **self.deadline.to_header(), **priority}


def accept_request_id(sent: str | None) -> str:
    """Return the caller's request id if it is 32 hex digits or a UUID, otherwise a new one.

    Anything else could inject log lines or headers.
    """
    if sent is not None and _VALID_ID.fullmatch(sent):
        return sent
    return uuid.uuid4().hex


def attach_context(scope: MutableMapping[str, Any], context: RequestContext) -> None:
    """Store the context in an ASGI scope, where `context_of` reads it."""
    scope[_KEY] = context


def context_of(scope: MutableMapping[str, Any]) -> RequestContext:
    """Return the context of an ASGI scope."""
    return cast("RequestContext", scope[_KEY])


async def _from_request(request: Request) -> RequestContext:
    return context_of(request.scope)


Context = Annotated[RequestContext, Depends(_from_request)]
"""For the signature of a FastAPI route."""
