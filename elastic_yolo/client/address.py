"""The address of the web service, checked before anything is sent."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from elastic_yolo.client.errors import BadArgument

PATH = "/inference"


def check_address(url: str) -> httpx.URL:
    """Return the address of web; raises BadArgument."""
    # Nothing of an address with a password is shown.
    shown = "the URL" if "@" in url else ascii(url)
    try:
        address = parse_url(url)
    except ValueError as error:
        raise BadArgument(f"{shown}: {error}") from None
    if address.scheme not in {"http", "https"} or not address.host:
        raise BadArgument(f"expected http://HOST:PORT, not {shown}")
    if address.path.rstrip("/").endswith(PATH):
        raise BadArgument(f"expected the address without {PATH}, not {shown}")
    return address


def parse_url(url: str) -> httpx.URL:
    """Return a URL whose parts can be used; raises ValueError."""
    try:
        address = httpx.URL(url)
        # httpx takes ports above 65535, half of an IPv6 address, and names that no resolver takes.
        _ = urlsplit(url).port
        address.host.encode("idna")
        address.raw_host.decode("ascii").encode("idna")
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None
    except UnicodeError:
        raise ValueError("not the name of a host") from None
    return address


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
