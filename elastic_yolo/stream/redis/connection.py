"""Connections to Redis: addresses, the client, and its errors as errors of streams.

Valkey and other servers that speak Redis' protocol work as well, from the commands of Redis 6.2 on.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from elastic_yolo.stream.broker_address import BrokerAddress, split_broker_address
from elastic_yolo.stream.errors import BadAddress, Refused, StreamError, Unavailable

PORT = 6379
CONNECT_TIMEOUT_S = 5.0
# Longer than any command blocks: see MOST_BLOCKED_S of streams.py.
ANSWER_TIMEOUT_S = 15.0

# Both are also base classes of errors that do not pass: these are looked for first.
_DENIED = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.NoPermissionError,
    exceptions.ClusterCrossSlotError,
)
_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterError,
    exceptions.AskError,
    exceptions.TryAgainError,
)
# Beginnings of replies that redis-py has no class for: the disk is full, too few replicas, a script
# runs for long, the stream was deleted while it was waited for.
_PASSING_REPLIES = ("MISCONF", "NOREPLICAS", "BUSY ", "UNBLOCKED", "NOGROUP", "EXECABORT")
_IN_PIPELINE = "of pipeline caused error: "


@dataclass(frozen=True)
class RedisAddress:
    """A stream of a Redis server."""

    server: BrokerAddress
    database: int
    stream: str
    password: str | None = None

    @property
    def name(self) -> str:
        """For logs, metrics and results: without credentials, the same for every consumer."""
        return f"{self.server.without_credentials}?stream={self.stream}"

    def __repr__(self) -> str:
        return f"RedisAddress({self.name!r})"


def parse_redis_address(
    address: str, form: str, known: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> RedisAddress:
    """Parse redis://[USER:PASSWORD@]HOST[:PORT][/DB]?stream=NAME, or rediss:// for TLS.

    The password may be in REDIS_PASSWORD instead of the address. Raises BadAddress.
    """
    server = split_broker_address(address, form, PORT, known)
    database = server.path or "0"
    if len(server.servers) != 1:
        raise BadAddress(f"several servers; expected {form}")
    if not (database.isascii() and database.isdecimal()):
        raise BadAddress(f"the database is no number; expected {form}")
    if "stream" not in server.parameters:
        raise BadAddress(f"the parameter 'stream' is missing; expected {form}")
    from_environment = (os.environ if environment is None else environment).get("REDIS_PASSWORD")
    password = server.password if server.password is not None else from_environment
    return RedisAddress(server, int(database), server.parameters["stream"], password or None)


def connect(address: RedisAddress) -> redis.Redis:
    """Return a client, which connects when it is used; several threads may use it.

    With rediss://, the certificate must be valid by the authorities of the system, or of the file
    that SSL_CERT_FILE names.
    """
    ((host, port),) = address.server.servers
    return redis.Redis(
        host=host,
        port=port,
        db=address.database,
        username=address.server.username,
        password=address.password,
        ssl=address.server.scheme == "rediss",
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=ANSWER_TIMEOUT_S,
        # Once, for a connection that broke while nobody used it. Callers repeat the rest.
        retry=Retry(NoBackoff(), 1),
        # The form of replies that every server has.
        protocol=2,
    )


def is_missing_group(error: exceptions.RedisError) -> bool:
    """Return whether a command failed because stream or group do not exist."""
    return str(error).startswith(("NOGROUP", "UNBLOCKED"))


class Reporting(AbstractContextManager[None]):
    """Raises redis-py's errors as Unavailable or Refused, with one line that names the stream."""

    def __init__(self, address: RedisAddress, forget_connections: Callable[[], Any]) -> None:
        """Remember what to name, and what to call after an error that passes."""
        self._address = address
        self._forget_connections = forget_connections

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Translate an error."""
        if isinstance(error, exceptions.RedisError):
            found = self._translate(error)
            if isinstance(found, Unavailable):
                # After a failover, the name of the server may lead to another one.
                self._forget_connections()
            # The chain of exceptions holds arguments of commands, and may hold the password.
            raise found from None

    def _translate(self, error: exceptions.RedisError) -> StreamError:
        said = str(error).rpartition(_IN_PIPELINE)[2].strip() or type(error).__name__
        said = said.splitlines()[0]
        if self._address.password:
            said = said.replace(self._address.password, "***")
        message = f"{self._address.name}: {said}"
        if isinstance(error, _DENIED) or _is_bad_certificate(error):
            return Refused(message)
        if isinstance(error, _PASSING) or said.startswith(_PASSING_REPLIES):
            return Unavailable(message)
        return Refused(message)


def _is_bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
