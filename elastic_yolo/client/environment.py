"""What the environment says about connections: proxies, and the certificates of a private CA."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec
from urllib.request import getproxies, proxy_bypass

import httpx

from elastic_yolo.client.address import parse_url
from elastic_yolo.client.errors import BadArgument

_CERTIFICATES = "SSL_CERT_FILE"
_SOCKS = frozenset({"socks5", "socks5h"})
_SCHEMES = frozenset({"http", "https"}) | _SOCKS


def proxy_for(address: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names for an address, if any.

    NO_PROXY lists hosts without one. Raises BadArgument, which names the variable and not its
    value, which may have a password.
    """
    proxies = getproxies()
    scheme = next((one for one in (address.scheme, "all") if proxies.get(one)), None)
    if scheme is None or proxy_bypass(address.host, proxies):
        return None
    value, variable = proxies[scheme], _variable(scheme)
    try:
        url = parse_url(value if "://" in value else f"http://{value}")
        usable = url.scheme in _SCHEMES and bool(url.host)
    except ValueError:
        usable = False
    if not usable:
        raise BadArgument(f"{variable}: expected the address of a proxy, http://HOST:PORT")
    if url.scheme in _SOCKS and find_spec("socksio") is None:
        raise BadArgument(f"{variable}: a SOCKS proxy needs the package socksio")
    return httpx.Proxy(url)


def trusted_certificates() -> ssl.SSLContext:
    """Return the certificates that are trusted: of SSL_CERT_FILE, SSL_CERT_DIR, or public CAs.

    Raises BadArgument.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        reason = error.strerror if not isinstance(error, ssl.SSLError) else "no certificates in PEM"
        file = os.environ.get(_CERTIFICATES, "")
        raise BadArgument(f"{_CERTIFICATES}: {ascii(file)[1:-1]}: {reason}") from error


def _variable(scheme: str) -> str:
    """Return the name of the variable that counts: that in lower case, if there are both."""
    name = f"{scheme}_proxy"
    return name if os.environ.get(name) else name.upper()
