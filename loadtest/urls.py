"""Addresses as people type them, and whom they belong to."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit, urlunsplit


def parse_url(text: str) -> str:
    """Return an http or https address without its last slash; raises ValueError for others."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"expected http://HOST:PORT, not {text}")
    if parts.query or parts.fragment:
        raise ValueError(f"{text}: neither a query nor a fragment belongs there")
    _ = parts.port  # raises ValueError itself
    return text.rstrip("/")


def without_user(url: str) -> str:
    """Return an address without user and password, for reports."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def describe_host(url: str) -> str:
    """Return whom a load would go to; raises OSError for unknown hosts."""
    parts = urlsplit(url)
    found = socket.getaddrinfo(parts.hostname, parts.port or 0, type=socket.SOCK_STREAM)
    address = ipaddress.ip_address(str(found[0][4][0]).partition("%")[0])
    if address.is_loopback:
        whose = "this machine"
    elif address.is_private:
        whose = "a private network"
    else:
        whose = "a PUBLIC address: be sure that it is yours to load"
    return f"{address}, {whose}"
