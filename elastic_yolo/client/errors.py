"""Errors of the client; each message is one line.

ClientError
├── BadArgument        a URL, token, timeout, model or media type, or a variable of the environment,
│                      that no request can be made with; a client that was closed
├── NoAnswer           no response came within the time of the call
├── BadAnswer          what answered is not the web service, or its answer is damaged or too large
└── Problem            the service answered with a problem document (RFC 9457)
    ├── NotAllowed         401, 403
    ├── UnknownModel       404
    ├── Rejected           400, 413, 415, 422: the picture or a parameter; sending it again is vain
    ├── Busy               429, 502, 503, until the time of the call was over
    └── DeadlinePassed     504
"""

from __future__ import annotations


class ClientError(Exception):
    """Base of all errors of the client."""


class BadArgument(ClientError, ValueError):
    """No request can be made with an argument."""


class NoAnswer(ClientError):
    """No response came within the time of the call; `__cause__` is the last error of httpx."""

    def __init__(self, message: str, *, out_of_time: bool = True) -> None:
        """Take the message, and whether more time may have helped."""
        super().__init__(message)
        self.out_of_time = out_of_time
        """Whether the client would have tried longer if it had more time."""


class BadAnswer(ClientError):
    """What answered is not the web service of elastic-yolo, or the answer is damaged."""


class Problem(ClientError):
    """The service answered with an error; the attributes are those of its problem document."""

    def __init__(
        self, status: int, title: str, detail: str, uid: str, retry_after_s: float | None
    ) -> None:
        """Take the fields; `uid` is empty if something in front of the service answered."""
        super().__init__(f"{status} {title}: {detail}" if detail else f"{status} {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.uid = uid
        """The id of the request in the logs of the services."""
        self.retry_after_s = retry_after_s
        """What the service asks to wait, in seconds."""


class NotAllowed(Problem):
    """The service requires a token, or the client has no right to the model."""


class UnknownModel(Problem):
    """The service has no such model."""


class Rejected(Problem):
    """The picture or a parameter cannot be used; sending it again is vain."""


class Busy(Problem):
    """The service was still busy or not ready when the time of the call was over."""


class DeadlinePassed(Problem):
    """The service had no answer within the time of the call, or within its own limit."""


BY_STATUS: dict[int, type[Problem]] = {
    400: Rejected,
    401: NotAllowed,
    403: NotAllowed,
    404: UnknownModel,
    413: Rejected,
    415: Rejected,
    422: Rejected,
    429: Busy,
    502: Busy,
    503: Busy,
    504: DeadlinePassed,
}
"""The error for each status; any other is a Problem."""
