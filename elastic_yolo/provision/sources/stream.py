"""The interface of a source: open a file at an offset, and pin a moving address to a version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class ResumePoint:
    """Where to resume: after `offset` bytes, if the content still has this `validator`."""

    offset: int = 0
    validator: str | None = None
    on_archive: Callable[[int], None] = lambda _bytes: None
    """Receives the bytes that are there of an archive which must be complete before its file."""


@dataclass(frozen=True)
class SourceStream:
    """An open file of a source."""

    chunks: Iterator[bytes]
    offset: int
    """Offset of the first chunk in the file: that of the ResumePoint, or 0."""
    size: int | None
    """Size of the whole file in bytes, if the source reports it."""
    validator: str | None
    """The source's identifier of this content, such as an ETag, needed to resume."""


OpenSource = Callable[[str, ResumePoint], AbstractContextManager[SourceStream]]
"""Opens the file at an address, as a context manager.

Opening it and reading the chunks raise SourceUnavailable if a later attempt may succeed, and
SourceRefused if not.
"""


@dataclass(frozen=True)
class Pinned:
    """A folder pinned to its current version."""

    folder: str
    """Address that always refers to this version."""
    version: str
    """The source's name of the version."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Digests of the files by name, in the form of the store, if the source reports them."""


Pin = Callable[[str, str], Pinned | None]
"""Pins the folder at an address, given the name of a file in it, to its current version.

Returns None if the source has no versions. Raises as `OpenSource` does.
"""


def redacted(address: str) -> str:
    """Return an address for messages and records, without query (signatures) and user:password."""
    if address.startswith("/"):
        return address
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
