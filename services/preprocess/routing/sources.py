"""Where the table of routes comes from: a file, also one that Kubernetes replaces by a link."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text
from services.preprocess.routing.table import MOST_BYTES, TableError

_POLL_S = 1.0


class TableSource(Protocol):
    """The text of a table, which may change."""

    def __str__(self) -> str:
        """Return its address, without a password; begins the messages about the table."""

    @property
    def folder(self) -> Path:
        """Where the relative paths in the table start."""

    async def read(self) -> str:
        """Return the text as it is now; raises TableError if it cannot be read."""

    def changes(self) -> AsyncIterator[None]:
        """Yield whenever the text may have changed since `read`, without end."""


_Identity = tuple[int, int, int, int]


@dataclass(frozen=True)
class FileSource:
    """A YAML file. In a ConfigMap's volume it is a link that points to another file afterwards."""

    path: Path

    def __str__(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def folder(self) -> Path:
        """Return the folder of the file."""
        return self.path.parent

    async def read(self) -> str:
        """Return the content; raises TableError."""
        try:
            return await asyncio.to_thread(read_text, self.path, MOST_BYTES)
        except ModelError as error:
            raise TableError(str(error)) from error

    async def changes(self) -> AsyncIterator[None]:
        """Look every second whether it is another file, or has another size or time."""
        known: _Identity | None = None
        while True:
            found = await asyncio.to_thread(self._identify)
            if found != known:
                known = found
                yield
            await asyncio.sleep(_POLL_S)

    def _identify(self) -> _Identity | None:
        try:
            found = os.stat(self.path)  # noqa: PTH116  # follows the link, as Path.stat
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
