"""The errors of a request. Only `problems.py` chooses the HTTP status of each.

ServiceError
├── MalformedRequest      the request is not what the route accepts
├── UnknownModel          the service has no model of that name or version
├── Unauthorized          the route requires a token, and the request has none or a wrong one
├── Forbidden             the caller is known, and may not use what it asks for
├── ModelUnusable         a requested model or version cannot be loaded
├── UnsupportedMedia      the body's media type is not accepted
├── UnsupportedEncoding   the body's compression is not accepted
├── LengthRequired        the request does not say where its body ends
├── BodyTooLarge          the body exceeds the limit on bytes
├── ParameterOutOfRange   a parameter is known but its value is not allowed
├── TooManyRequests       the queue is full, or a limit is reached; carries when to try again
├── Unavailable           starting, draining, or a service cannot be reached; carries the same
├── DeadlineExceeded      the caller's time is up
└── RemoteProblem         the next service answered with a problem of its own
"""

from __future__ import annotations

from typing import Literal

RefusalReason = Literal[
    "queue_full",
    "would_be_late",
    "bodies_too_large",
    "rate_limit",
    "concurrency_limit",
    "daily_limit",
]


class ServiceError(Exception):
    """Base of all; the message is safe to show to the caller."""


class MalformedRequest(ServiceError):
    """The request cannot be parsed, or is not what the route accepts."""


class UnknownModel(ServiceError):
    """The service has no such model."""


class Unauthorized(ServiceError):
    """The request has no token, or a wrong one."""

    def __init__(self, message: str, error: str | None = None) -> None:
        """Take the error code of RFC 6750, section 3.1; None if the request has no token."""
        super().__init__(message)
        self.error = error


class Forbidden(ServiceError):
    """The caller has no right to what the request asks for."""


class ModelUnusable(ServiceError):
    """The model cannot be loaded."""


class UnsupportedMedia(ServiceError):
    """The route does not accept the body's media type."""


class UnsupportedEncoding(ServiceError):
    """The service does not decompress the body's content encoding."""


class LengthRequired(ServiceError):
    """The request has a body without a length."""


class BodyTooLarge(ServiceError):
    """The body exceeds the limit on bytes."""


class ParameterOutOfRange(ServiceError):
    """A parameter has a value that is not allowed."""


class TooManyRequests(ServiceError):
    """The service has more work than it can queue, or the caller has used up its limit."""

    def __init__(self, message: str, retry_after_s: int, reason: RefusalReason) -> None:
        """Set Retry-After in seconds, and the metric label for the refusal."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.reason = reason


class Unavailable(ServiceError):
    """The service cannot answer now, but may later."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        """Set Retry-After in seconds; the response has it rounded up, from 1."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The caller's time is up."""


class RemoteProblem(ServiceError):
    """A problem of the next service, which keeps its status."""

    def __init__(self, status: int, title: str, detail: str, retry_after: str | None) -> None:
        """Take what the caller may see of the next service's response."""
        super().__init__(detail)
        self.status = status
        self.title = title
        self.retry_after = retry_after

    @property
    def is_rejection(self) -> bool:
        """Whether the next service rejected the request (400) or its target (404)."""
        return self.status in (400, 404)
