"""URLs of sources and sinks: checked, named without credentials, their own options taken out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, unquote, urlsplit

from elastic_yolo.names import nearest_names
from elastic_yolo.stream.errors import BadAddress

_HIDDEN = "***"
_PRIVATE = "pass|pwd|secret|token|key|auth|sig|user|usr|login|cred|session"
_PRIVATE_PARAMETER = re.compile(_PRIVATE, re.IGNORECASE)
# Some recorders take credentials in the path: /user=admin_password=12345_channel=1_stream=0.sdp
_PRIVATE_IN_PATH = re.compile(rf"((?:{_PRIVATE})\w*?=)(?:(?!_[a-z]+=)[^&/;])*", re.IGNORECASE)

# Telegram's, Slack's, Discord's and IFTTT's keys in paths are longer; few words are.
_LONG_SEGMENT = re.compile(r"(?<![^/])[^/=]{20,}(?![^/])")


def split_url(address: str, schemes: Sequence[str], example: str) -> SplitResult:
    """Return the parts of a URL with one of the schemes and a host.

    Raises BadAddress, with the example of what is expected.
    """
    # No part of an address that is not understood is shown: it may be one of the password.
    unclear = BadAddress(
        f"no valid URL: expected {example}; in a user name or password %2F for a slash, %3F for a "
        "question mark, %23 for a hash; behind the host %40 for @"
    )
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise unclear from None
    if "@" in address and "@" not in parts.netloc:
        raise unclear
    if parts.scheme not in schemes or not host or re.search(r"[\s\x00-\x1f]", address):
        raise BadAddress(f"{public_name(address)}: expected {example}")
    return parts


def public_name(address: str) -> str:
    """Return a URL without user name, password, fragment, and without the values of secrets.

    The path of a webhook may be its secret, as a chat's: a long segment is shown as the beginning
    of its SHA-256, which tells one from another.
    """
    parts = urlsplit(address)
    query = "&".join(_hide(piece) for piece in parts.query.split("&"))
    return parts._replace(
        netloc=parts.netloc.rpartition("@")[2],
        path=_LONG_SEGMENT.sub(_shorten, _PRIVATE_IN_PATH.sub(rf"\1{_HIDDEN}", parts.path)),
        query=query,
        fragment="",
    ).geturl()


def take_option(
    parts: SplitResult, name: str, values: Sequence[str]
) -> tuple[SplitResult, str | None]:
    """Take one option of ours out of a query that is the other end's apart from that.

    Returns the URL without it, and its value, None without one; everything else stays as it is.
    Raises BadAddress for a value that is not one of `values`.
    """
    pieces = [piece for piece in parts.query.split("&") if piece]
    own = [piece for piece in pieces if piece.partition("=")[0] == name]
    value = unquote(own[-1].partition("=")[2]) if own else None
    if value is not None and value not in values:
        raise BadAddress(f"?{name}={value}: expected one of {', '.join(values)}")
    rest = "&".join(piece for piece in pieces if piece not in own)
    return parts._replace(query=rest), value


def read_options(parts: SplitResult, known: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the options of a query that is ours alone; `known` has the values of each.

    Raises BadAddress for an unknown option, which names the known ones, or an unknown value.
    """
    options: dict[str, str] = {}
    for piece in filter(None, parts.query.split("&")):
        name, _, value = (unquote(part) for part in piece.partition("="))
        if name not in known:
            near = "".join(f"; did you mean {found}?" for found in nearest_names(name, known))
            raise BadAddress(f"?{name}: expected {', '.join(known)}{near}")
        if value not in known[name]:
            raise BadAddress(f"?{name}={value}: expected one of {', '.join(known[name])}")
        options[name] = value
    return options


def _shorten(found: re.Match[str]) -> str:
    return f"{_HIDDEN}{hashlib.sha256(found[0].encode()).hexdigest()[:8]}"


def _hide(piece: str) -> str:
    name, equals, _ = piece.partition("=")
    return f"{name}={_HIDDEN}" if equals and _PRIVATE_PARAMETER.search(name) else piece
