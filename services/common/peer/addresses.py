"""Resolves a URL to the addresses of its endpoints: all that DNS has for the host name."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Where one endpoint listens, and the `host` header that it expects."""

    ip: str
    port: int
    host: str
    """As in the URL; with the port unless it is the scheme's default."""
    tls_name: str | None = None
    """The name that its certificate must have; None for plain HTTP."""
    is_fallback: bool = False
    """Whether it is used only while no other address responds."""

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"

    @property
    def scheme(self) -> str:
        """Return http or https."""
        return "https" if self.tls_name else "http"


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of a URL."""

    secure: bool
    name: str
    port: int
    is_fallback: bool = False

    @classmethod
    def parse(cls, url: str, *, is_fallback: bool = False) -> Origin:
        """Parse an http:// or https:// URL that the settings have validated."""
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme == "https", parts.hostname or "", port, is_fallback)

    async def resolve(self) -> list[Address]:
        """Return all addresses of the host; raises OSError if the name does not resolve.

        If a host has IPv4 and IPv6 addresses, only the IPv4 ones are returned: in a dual-stack
        cluster each pod has both and would count twice.
        """
        if _is_ip(self.name):
            return [self._address(self.name)]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self.name, self.port, type=socket.SOCK_STREAM
            )
        except UnicodeError as error:
            raise OSError(f"invalid host name {self.name!r}: {error}") from error
        families = {family for family, *_ in found}
        wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        ips = {str(sockaddr[0]) for family, *_, sockaddr in found if family == wanted}
        if not ips:
            raise OSError(f"no address for {self.name}")
        return [self._address(ip) for ip in sorted(ips)]

    def _address(self, ip: str) -> Address:
        name = f"[{self.name}]" if ":" in self.name else self.name
        default = self.port == _PORTS["https" if self.secure else "http"]
        host = name if default else f"{name}:{self.port}"
        tls_name = self.name if self.secure else None
        return Address(ip, self.port, host, tls_name, self.is_fallback)


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
