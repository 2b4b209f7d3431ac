"""Errors of streams.

StreamError
├── BadAddress       --source or --sink is no address that the command knows
├── Unavailable      a broker, camera or receiver does not respond now; what was tried is repeated
└── Refused          it responds, and will refuse the same again: the command ends
"""

from __future__ import annotations


class StreamError(Exception):
    """Base of all errors of streams; the message is one line without credentials."""


class BadAddress(StreamError):
    """An address of a source or a sink is invalid; the message says what is expected."""


class Unavailable(StreamError):
    """There is no connection, or it broke, or the other end asks to come back later.

    `retry_after_s` is how long the other end asks to wait, None if it does not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        """Keep the message and how long to wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(StreamError):
    """The other end denies what will not be granted by asking again: credentials, a name."""
