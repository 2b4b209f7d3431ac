"""Clients of Kafka: addresses, librdkafka's properties, and its errors as errors of streams."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from elastic_yolo.extras import naming_extra
from elastic_yolo.stream.broker_address import split_broker_address
from elastic_yolo.stream.errors import BadAddress, Refused, StreamError, Unavailable

with naming_extra("kafka://", "kafka"):
    from confluent_kafka import KafkaError, KafkaException

_LOG = logging.getLogger(__name__)
_Client = TypeVar("_Client")
PORT = 9092
# What Kafka allows.
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_PREFIX = "KAFKA_"
# As syslog numbers it.
_CRITICAL = 2
_UNKNOWN_PROPERTY = re.compile(r'No such configuration property: "([^"]*)"')
_PROPERTY = re.compile(r'property "([^"]*)"')
# Asking again does not help: credentials, permissions, names, and what only an operator changes.
_DENIED = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # librdkafka's own errors begin with _
        KafkaError._FATAL,  # noqa: SLF001
        KafkaError._INVALID_ARG,  # noqa: SLF001
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_GROUP_ID,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError.POLICY_VIOLATION,
    }
)


@dataclass(frozen=True)
class KafkaAddress:
    """A topic of a Kafka cluster, and properties of librdkafka from the environment."""

    servers: str
    topic: str
    parameters: Mapping[str, str]
    name: str
    properties: Mapping[str, str] = field(repr=False)


def parse_kafka_address(
    address: str, form: str, known: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> KafkaAddress:
    """Parse kafka://HOST[:PORT][,HOST[:PORT]...]/TOPIC; raises BadAddress.

    KAFKA_SECURITY_PROTOCOL in the environment sets librdkafka's security.protocol, and so on.
    """
    parts = split_broker_address(address, form, PORT, known)
    if parts.username is not None or parts.password is not None:
        raise BadAddress(
            "credentials of Kafka are in KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD, with "
            f"KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_MECHANISM; expected {form}"
        )
    if not _TOPIC.fullmatch(parts.path) or parts.path in {".", ".."}:
        raise BadAddress(f"a topic has 1 to 249 letters, digits, '.', '_' and '-'; expected {form}")
    variables = os.environ if environment is None else environment
    properties = {
        name.removeprefix(_PREFIX).lower().replace("_", "."): value
        for name, value in variables.items()
        if name.startswith(_PREFIX)
    }
    return KafkaAddress(
        parts.hosts, parts.path, parts.parameters, parts.without_credentials, properties
    )


def create_client(
    create: Callable[[dict[str, Any]], _Client], address: KafkaAddress, own: Mapping[str, Any]
) -> _Client:
    """Return a consumer or producer; `own` properties win over those of the environment.

    Variables that name no property are ignored: Kubernetes sets KAFKA_SERVICE_HOST and others for a
    Service of that name. Raises BadAddress for an invalid value, without quoting it.
    """
    properties = dict(address.properties)
    while True:
        try:
            return create(
                {
                    # It would log each attempt to connect, twenty a second. Errors reach callbacks.
                    "log_level": _CRITICAL,
                    **properties,
                    "bootstrap.servers": address.servers,
                    "logger": _LOG,
                    "log.connection.close": False,
                    **own,
                }
            )
        except KafkaException as error:
            said = _text(error.args[0])
            unknown = _UNKNOWN_PROPERTY.search(said)
            if unknown and unknown[1] in properties:
                properties.pop(unknown[1])
                _LOG.debug("%s is no property of librdkafka: ignored", _variable(unknown[1]))
                continue
            invalid = _PROPERTY.search(said)
            if invalid and invalid[1] in properties:
                message = f"{_variable(invalid[1])} in the environment has an invalid value"
                raise BadAddress(message) from None
            raise BadAddress(f"{address.name}: {_redact(said, address)}") from None


def is_denied(error: KafkaError) -> bool:
    """Return whether the same will be denied again."""
    said = error.str()
    if error.code() == KafkaError._AUTHENTICATION and "transport failure" in said:  # noqa: SLF001
        # A broker that stops closes the connection before it has answered.
        return False
    return error.code() in _DENIED or "certificate verify failed" in said


def as_stream_error(error: KafkaError, address: KafkaAddress) -> StreamError:
    """Return the error to raise: Refused for what will be denied again, otherwise Unavailable."""
    message = f"{address.name}: {_redact(_text(error), address)}"
    if is_denied(error) or error.fatal():
        return Refused(message)
    return Unavailable(message)


def _variable(name: str) -> str:
    return _PREFIX + name.upper().replace(".", "_")


def _text(error: KafkaError) -> str:
    said = error.str() if isinstance(error, KafkaError) else str(error)
    return " ".join(said.split())


def _redact(said: str, address: KafkaAddress) -> str:
    for name, value in address.properties.items():
        if value and name.endswith(("password", "secret", "pem", "key", "config")):
            said = said.replace(value, "***")
    return said
