"""Who sent a request, and what they may do. Web finds it out; the other services trust web."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

TENANT_HEADER = "x-tenant"
# What is common in names and addresses. All else is percent-encoded, so that no name is a header.
_PLAIN = "._-~:@|/+="


@dataclass(frozen=True)
class Limits:
    """What one client may send; None is no limit."""

    rate: float | None = None
    """Pictures per second, on average."""
    burst: int | None = None
    """Pictures at once; None: those of one second."""
    concurrency: int | None = None
    """Pictures in progress."""
    daily: int | None = None
    """Pictures of a day, which begins at midnight UTC."""


@dataclass(frozen=True)
class Identity:
    """A client that has shown an API key or a token."""

    kind: Literal["key", "token"]
    client: str
    tenant: str
    models: tuple[str, ...] | None = None
    """The models that the client may use, the first is its default; None: all."""
    limits: Limits | None = None
    """The client's own; None: those of the service."""

    def to_header(self) -> dict[str, str]:
        """Return the header that names the tenant to the next service."""
        return {TENANT_HEADER: quote(self.tenant, safe=_PLAIN)}
