"""URLs on the command line: parsing, printing, and what they resolve to."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit, urlunsplit


def parse_url(text: str) -> str:
    """Return an http or https URL without its last slash; raises ValueError."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected http://HOST:PORT, not {text}")
    if parts.query or parts.fragment:
        raise ValueError(f"{text}: a query or a fragment is not allowed")
    _ = parts.port  # raises ValueError itself
    return text.rstrip("/")


def without_user(url: str) -> str:
    """Return a URL without user and password, for reports."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def describe_host(url: str) -> str:
    """Return the host's address and whether it is public; raises OSError for unknown hosts."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 0, type=socket.SOCK_STREAM)
    address = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    if address.is_loopback:
        kind = "this machine"
    elif address.is_private:
        kind = "a private network"
    else:
        kind = "a PUBLIC address: make sure that you are allowed to load-test it"
    return f"{address}, {kind}"
