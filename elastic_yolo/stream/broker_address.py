"""Addresses of brokers: SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PATH][?NAME=VALUE]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from elastic_yolo.stream.errors import BadAddress


@dataclass(frozen=True)
class BrokerAddress:
    """The parts of an address, percent-decoded; `path` is without the slash before it."""

    scheme: str
    servers: tuple[tuple[str, int], ...]
    path: str
    parameters: Mapping[str, str]
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def hosts(self) -> str:
        """The servers as HOST:PORT, with commas between them."""
        return ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers
        )

    @property
    def without_credentials(self) -> str:
        """Scheme, servers and path, for names and messages."""
        return f"{self.scheme}://{self.hosts}/{self.path}"


def split_broker_address(
    address: str, form: str, default_port: int, known: Sequence[str]
) -> BrokerAddress:
    """Split an address; `form` is what is expected, for messages, `known` the names of parameters.

    Raises BadAddress, whose message quotes no part of the address in which a password may be: one
    with an unescaped `/`, `?` or `#` ends up in the wrong part.
    """
    try:
        parts = urlsplit(address)
        _require_escaped(parts)
        credentials, _, servers = parts.netloc.rpartition("@")
        username, colon, password = credentials.partition(":")
        return BrokerAddress(
            scheme=parts.scheme,
            servers=tuple(_server(one, default_port) for one in servers.split(",")),
            path=unquote(parts.path.removeprefix("/")),
            parameters=_parameters(parts.query, known),
            username=unquote(username) or None,
            password=unquote(password) if colon else None,
        )
    except _Wrong as error:
        raise BadAddress(f"{error}; expected {form}") from None
    except ValueError:
        raise BadAddress(f"the host cannot be read; expected {form}") from None


class _Wrong(Exception):
    """What is wrong with an address, as the beginning of a message."""


def _require_escaped(parts: SplitResult) -> None:
    if parts.fragment or "@" in parts.path + parts.query:
        raise _Wrong(
            "'@', '/', '?' and '#' are written as %40, %2F, %3F and %23 in a password or a name"
        )


def _server(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        raise _Wrong("the port is no number between 0 and 65535") from None
    if not parts.hostname:
        raise _Wrong("the host is missing")
    return parts.hostname, default_port if port is None else port


def _parameters(query: str, known: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise _Wrong(f"unknown parameter {name!r}, known are {', '.join(known) or 'none'}")
        if name in found:
            raise _Wrong(f"the parameter {name!r} is given twice")
        if not value:
            raise _Wrong(f"the parameter {name!r} is empty")
        found[name] = value
    return found
