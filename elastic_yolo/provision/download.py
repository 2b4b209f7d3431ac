"""One file from its source into the store: interrupted as often as it may be, and checked."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.durable import make_folder, write_file
from elastic_yolo.provision.errors import ProvisionError, SourceUnavailable, WrongContent
from elastic_yolo.provision.progress import Progress
from elastic_yolo.provision.sources import Opened, Start, choose_source, shown
from elastic_yolo.store.errors import StoreFull
from elastic_yolo.store.layout import Layout

ATTEMPTS = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# A source that gives less than this in so long will not be done today.
_LEAST_BYTES = 10_000
PATIENCE_S = 30.0

T = TypeVar("T")


@dataclass
class Traffic:
    """What was asked of the sources, and what came."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Download:
    """What is needed to fetch files. `room` raises StoreFull unless so many more bytes fit."""

    layout: Layout
    progress: Progress
    room: Callable[[int], None]
    traffic: Traffic = field(default_factory=Traffic)
    sleep: Callable[[float], None] = time.sleep
    attempts: int = ATTEMPTS
    patience_s: float = PATIENCE_S

    def fetch(self, address: str, name: str, digest: str | None) -> tuple[Path, str]:
        """Return a file in the store's incoming folder, synced, and its digest.

        Tries again, from where it was, as long as that may help. Raises ProvisionError or
        StoreFull; what has come stays for the next run.
        """
        make_folder(self.layout.incoming)
        part = _Part(self.layout.incoming / digest_of_bytes(address.encode())[7:39])
        attempt = 0
        while True:
            before = part.size
            try:
                found = self._continue(part, address, name)
                if digest is None or found == digest:
                    part.complete()
                    return part.path, found
                part.remove()
                raise WrongContent(f"{shown(address)}: expected {digest}, found {found}")
            except ProvisionError as error:
                # What got further is not the same failure again.
                attempt = attempt + 1 if part.size <= before else 1
                if not error.retryable or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))

    def insist(self, ask: Callable[[], T]) -> T:
        """Return what a source answers, asked as often as `fetch` does; raises ProvisionError."""
        for attempt in itertools.count(1):
            self.traffic.requests += 1
            try:
                return ask()
            except ProvisionError as error:
                if not error.retryable or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))
        raise AssertionError("the loop ends otherwise")

    def _continue(self, part: _Part, address: str, name: str) -> str:
        """Fetch what is missing and return the digest of the whole."""
        start = part.start()
        self.traffic.requests += 1
        with choose_source(address)(address, start) as opened:
            if opened.size is not None:
                self.room(opened.size - opened.offset)
            came = opened.offset
            with part.writing(opened) as (write, digest):
                for piece in _in_time(opened, address, self.patience_s):
                    if opened.size is None:
                        self.room(len(piece))
                    write(piece)
                    came += len(piece)
                    self.traffic.bytes += len(piece)
                    self.progress(name, came, opened.size or 0)
            if opened.size is not None and part.size != opened.size:
                raise SourceUnavailable(
                    f"{shown(address)}: {part.size:,} of {opened.size:,} bytes came"
                )
        return "sha256:" + digest.hexdigest()


class _Part:
    """A file that is not complete yet, and what its source called it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self) -> Start:
        try:
            return Start(self.size, json.loads(self._note.read_bytes())["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return Start()

    def complete(self) -> None:
        self._note.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @contextmanager
    def writing(self, opened: Opened) -> Iterator[tuple[Callable[[bytes], object], hashlib._Hash]]:
        """Write behind what is there already, or anew; all of it is synced in the end."""
        digest = hashlib.sha256()
        if opened.offset:
            with self.path.open("rb") as begun:
                while piece := begun.read(2**20):
                    digest.update(piece)
        else:
            self.remove()
            if opened.validator is not None:
                write_file(self._note, json.dumps({"validator": opened.validator}).encode())
        with self.path.open("ab" if opened.offset else "wb") as file:

            def write(piece: bytes) -> None:
                digest.update(piece)
                try:
                    file.write(piece)
                except OSError as error:
                    raise _full(self.path, error) from error

            yield write, digest
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise _full(self.path, error) from error


def _in_time(opened: Opened, address: str, patience_s: float) -> Iterator[bytes]:
    """Hand on the pieces; raises SourceUnavailable once too few come for too long."""
    came, since = 0, time.monotonic()
    for piece in opened.pieces:
        came += len(piece)
        now = time.monotonic()
        if came >= _LEAST_BYTES:
            came, since = 0, now
        elif now - since > patience_s:
            raise SourceUnavailable(f"{shown(address)}: {came:,} bytes in {now - since:.0f} s")
        yield piece


def free_bytes(layout: Layout) -> int:
    """Return what the file system still takes."""
    return shutil.disk_usage(layout.root).free


def pause_s(attempt: int) -> float:
    """Return how long to wait after so many failures: twice as long each time, and never alike."""
    longest = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  # jitter


def _full(path: Path, error: OSError) -> StoreFull:
    return StoreFull(f"{path}: {error.strerror}")
