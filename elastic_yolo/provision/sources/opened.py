"""A file that is being read from wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Start:
    """Where to begin: behind `offset` bytes of what had the validator `same_as`."""

    offset: int = 0
    same_as: str | None = None


@dataclass(frozen=True)
class Opened:
    """What came. `offset` is where it begins: 0 if the source cannot, or will not, begin later."""

    pieces: Iterator[bytes]
    offset: int
    size: int | None
    """Of the whole file, in bytes, where the source says it."""
    validator: str | None
    """What the source calls this content, so that the rest of it can be asked for later."""


Open = Callable[[str, Start], AbstractContextManager[Opened]]
"""Opens the file at an address.

Raises SourceUnavailable where trying again may help, SourceRefused where it will not; so does
reading the pieces.
"""


@dataclass(frozen=True)
class Pinned:
    """A folder as it is now: what is read from it later is of the same version."""

    folder: str
    """Its address, which leads to this version from now on."""
    version: str
    """As the source calls it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the files by their names, as a store has them, where the source says them."""


Pin = Callable[[str, str], Pinned | None]
"""Says which version the folder at an address has now; it has a file of that name.

Returns None if the source cannot say it. Raises as `Open` does.
"""


def shown(address: str) -> str:
    """Return an address as it may be shown: queries carry signatures, and hosts may have users."""
    if address.startswith("/"):
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
