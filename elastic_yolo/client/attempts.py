"""When a request is sent, and sent again: the decisions, without the sending.

Both clients run the same generator. It yields what to do next, and receives what came of it.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import httpx

from elastic_yolo.backoff import Backoff
from elastic_yolo.client.errors import BadAnswer, NoAnswer
from elastic_yolo.client.reply import OK, Reply, asked_s, problem_of

# 502 is a proxy's, while the service behind it starts.
LATER = frozenset({429, 502, 503})
# The rest of the time is for the way back: the service's own 504, with its uid, is worth more than
# a closed connection.
_SERVICE_SHARE = 0.9
_MOST_MARGIN_S = 1.0
_LOG = logging.getLogger("elastic_yolo.client")


@dataclass(frozen=True)
class Send:
    """Send the request, and wait for its response for no more than `timeout_s` seconds."""

    timeout_s: float

    @property
    def service_ms(self) -> int:
        """The value of X-Timeout-Ms."""
        share_s = max(_SERVICE_SHARE * self.timeout_s, self.timeout_s - _MOST_MARGIN_S)
        return max(1, int(1000 * share_s))


@dataclass(frozen=True)
class Wait:
    """Wait before the next attempt."""

    seconds: float


@dataclass(frozen=True)
class NoReply:
    """No response came."""

    error: httpx.HTTPError | TimeoutError
    may_work_later: bool

    @classmethod
    def of(cls, error: httpx.HTTPError | TimeoutError) -> NoReply:
        """Judge an error; raises BadAnswer for a response that cannot be decoded."""
        if isinstance(error, httpx.DecodingError):
            raise BadAnswer(f"the answer cannot be decoded: {error}") from error
        later = (
            httpx.NetworkError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.RemoteProtocolError,
        )
        return cls(error, isinstance(error, later) and not _is_of_certificate(error))


Steps = Generator[Send | Wait, Reply | NoReply | None, Reply]
"""Yields what to do; is sent a Reply or NoReply for Send, None for Wait; returns a 200."""


def attempts(timeout_s: float, server: str) -> Steps:
    """Send until there is an answer, or the next attempt would come after `timeout_s` seconds.

    `server` is for messages. Raises NoAnswer, BadAnswer or Problem.
    """
    until = time.monotonic() + timeout_s
    backoff = Backoff(most_s=5.0)
    while True:
        outcome = yield Send(max(0.001, until - time.monotonic()))
        match outcome:
            case Reply(status=status) if status == OK:
                return outcome
            case Reply(status=status) if status in LATER:
                failed, wait_s = problem_of(outcome), _wait_s(backoff, asked_s(outcome))
            case Reply():
                raise problem_of(outcome)
            case NoReply(may_work_later=may_work_later):
                failed, wait_s = _no_answer(server, outcome), backoff.next_s()
                if not may_work_later:
                    raise failed
            case None:
                raise AssertionError("a Send has an outcome")
        if time.monotonic() + wait_s >= until:
            raise failed
        _LOG.info("%s; next attempt in %.1f s", failed, wait_s)
        yield Wait(wait_s)


def _wait_s(backoff: Backoff, asked: float | None) -> float:
    # Up to a tenth later, so that clients refused together do not come back together.
    asked = (asked or 0.0) * random.uniform(1, 1.1)  # noqa: S311  # no secret depends on it
    return max(backoff.next_s(), asked)


def _no_answer(server: str, outcome: NoReply) -> NoAnswer:
    error = outcome.error
    failed = NoAnswer(
        f"{server}: no answer {_reason(error)}",
        out_of_time=outcome.may_work_later or _is_timeout(error),
    )
    failed.__cause__ = error
    return failed


def _reason(error: Exception) -> str:
    if _is_timeout(error):
        return "in time"
    # The libraries between wrap what the system says in words of their own. OpenSSL's numbers are
    # not the system's.
    system = (
        one
        for one in _chain(error)
        if isinstance(one, OSError) and one.errno and not isinstance(one, ssl.SSLError)
    )
    return f"({next(map(_system_words, system), str(error) or type(error).__name__)})"


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError | httpx.ReadTimeout | httpx.WriteTimeout)


def _system_words(error: OSError) -> str:
    # The numbers of the resolver are its own.
    return (
        str(error.strerror) if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    )


def _is_of_certificate(error: BaseException) -> bool:
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # asyncio tries all addresses of a name, and groups what came of them.
        if isinstance(error, BaseExceptionGroup):
            for one in error.exceptions:
                yield from _chain(one)
        error = error.__cause__ or error.__context__
