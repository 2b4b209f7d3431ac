"""What can go wrong with a request. `problems.py` alone knows the HTTP status of each.

ServiceError
├── MalformedRequest      the request is not what the route takes
├── UnknownModel          no model of that name or version is served here
├── Unauthorized            only for who has a token, and the caller has not
├── ModelUnusable         a model or a version that was asked for cannot be loaded
├── UnsupportedMedia      the body declares a type that is not taken
├── BodyTooLarge          more bytes than allowed
├── ParameterOutOfRange   a parameter is understood but not acceptable
├── TooManyRequests       the queue is full; carries when to try again
├── Unavailable           not ready, draining, or a service behind this one is away
├── DeadlineExceeded      the caller's time is up
└── RemoteProblem         a service behind this one answered with a problem of its own
"""

from __future__ import annotations

from typing import Literal

RefusalReason = Literal["queue_full", "would_be_late", "bodies_too_large"]


class ServiceError(Exception):
    """Base of all; the message is safe to show to the caller."""


class MalformedRequest(ServiceError):
    """The request cannot be understood."""


class UnknownModel(ServiceError):
    """No such model here."""


class Unauthorized(ServiceError):
    """The caller has not shown the token that this needs."""


class ModelUnusable(ServiceError):
    """What was to be loaded cannot be."""


class UnsupportedMedia(ServiceError):
    """The body declares a media type that the route does not take."""


class BodyTooLarge(ServiceError):
    """The body exceeds the limit on bytes."""


class ParameterOutOfRange(ServiceError):
    """A parameter has a value that makes no sense."""


class TooManyRequests(ServiceError):
    """The service has more work than it can queue."""

    def __init__(self, message: str, retry_after_s: int, reason: RefusalReason) -> None:
        """Say when it is worth trying again, and for the metrics, what there is too much of."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.reason = reason


class Unavailable(ServiceError):
    """The service cannot answer now, but may later."""


class DeadlineExceeded(ServiceError):
    """The caller's budget is used up."""


class RemoteProblem(ServiceError):
    """A problem that a service behind this one reported, passed on with its meaning."""

    def __init__(self, status: int, title: str, detail: str, retry_after: str | None) -> None:
        """Keep what the caller may see of the other service's answer."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.retry_after = retry_after

    @property
    def is_rejection(self) -> bool:
        """Whether the other service found fault with the request (400) or its target (404)."""
        return self.status in (400, 404)
