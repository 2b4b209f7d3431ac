"""A file that is being read from wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
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


def shown(address: str) -> str:
    """Return an address as it may be shown: queries carry signatures."""
    return address if address.startswith("/") else urlsplit(address)._replace(query="").geturl()
