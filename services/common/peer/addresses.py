"""Where the processes behind a URL are: the addresses that DNS has for its host, or the list."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """One process to connect to, and the `host` header that it expects."""

    ip: str
    port: int
    host: str
    """As in the URL, with the port where that is not the scheme's own."""
    tls_name: str | None = None
    """The name that the certificate must have; None for plain HTTP."""

    @property
    def scheme(self) -> str:
        """Of its URL: http or https."""
        return "https" if self.tls_name else "http"


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port of one URL."""

    secure: bool
    name: str
    port: int

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read an http:// or https:// URL that has been validated."""
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        return cls(parts.scheme == "https", parts.hostname or "", port)

    async def resolve(self) -> list[Address]:
        """Return all addresses of the host; raises OSError if there is no answer.

        Where a host has addresses of both families only the IPv4 ones are taken: in a cluster with
        two families every pod has both, and would count twice.
        """
        if self.secure or _is_ip(self.name):
            # A certificate is for a name, behind which we cannot look.
            return [self._at(self.name)]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self.name, self.port, type=socket.SOCK_STREAM
            )
        except UnicodeError as error:
            raise OSError(f"{self.name!r} cannot be a host name: {error}") from error
        families = {family for family, *_ in found}
        wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        ips = {str(where[0]) for family, *_, where in found if family == wanted}
        if not ips:
            raise OSError(f"no address for {self.name}")
        return [self._at(ip) for ip in sorted(ips)]

    def _at(self, ip: str) -> Address:
        name = f"[{self.name}]" if ":" in self.name else self.name
        default = self.port == _PORTS["https" if self.secure else "http"]
        host = name if default else f"{name}:{self.port}"
        return Address(ip, self.port, host, self.name if self.secure else None)


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
