"""Which pictures of a folder that is being filled are finished."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.detector.samples import SUFFIXES

# Behind it, a claim has its number of deliveries, and a file in done/ or failed/ a time.
_MOST_NAME_BYTES = 200
_SETTLED_S = 1.0
# Some upload programs create the file long before its content comes.
_EMPTY_SETTLED_S = 60.0
# A folder may have a million files: they are looked at in portions, in the order of their names.
_MOST_LOOKED_AT = 10_000


@dataclass(frozen=True)
class _Look:
    """What a file was when it was first seen like that, at `since_s` of the clock."""

    size: int
    modified_ns: int
    since_s: float


class WaitingPictures:
    """The pictures of a folder, without those of its subfolders.

    A picture is finished when size and modification time did not change for a second. Ignored
    are links, names that begin with a dot, that do not end as a picture's (such as a.jpg.part), and
    those of more than 200 bytes.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep the folder; nothing is read yet."""
        self._folder = folder
        self._clock = clock
        self._seen: dict[str, _Look] = {}

    def finished(self) -> list[str]:
        """Look at the folder; returns the names of finished pictures, sorted. Raises OSError."""
        now_s = self._clock()
        seen: dict[str, _Look] = {}
        for name in heapq.nsmallest(_MOST_LOOKED_AT, self.names()):
            found = self._stat(name)
            if found is None:
                continue
            before = self._seen.get(name)
            same = before and (before.size, before.modified_ns) == found
            seen[name] = before if before and same else _Look(*found, now_s)
        self._seen = seen
        return [name for name, look in seen.items() if now_s - look.since_s >= _settled_s(look)]

    def is_unchanged(self, name: str) -> bool:
        """Return whether a picture is still as `finished` saw it; raises OSError.

        It is opened, because NFS answers questions about files that are not from its cache.
        """
        look = self._seen[name]
        with (self._folder / name).open("rb") as file:
            found = os.fstat(file.fileno())
        return (found.st_size, found.st_mtime_ns) == (look.size, look.modified_ns)

    def names(self) -> Iterator[str]:
        """Yield the names of all pictures, finished or not; raises OSError."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if is_picture(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.name

    def _stat(self, name: str) -> tuple[int, int] | None:
        try:
            found = (self._folder / name).stat()
        except FileNotFoundError:
            # Another consumer was faster.
            return None
        return found.st_size, found.st_mtime_ns


def is_picture(name: str) -> bool:
    """Return whether a name is one of a picture that may be finished."""
    return (
        os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  # thrice as fast
        and not name.startswith(".")
        and len(os.fsencode(name)) <= _MOST_NAME_BYTES
    )


def _settled_s(look: _Look) -> float:
    return _SETTLED_S if look.size else _EMPTY_SETTLED_S
