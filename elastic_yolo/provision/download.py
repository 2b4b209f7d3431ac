"""Download one file from its source into the store's incoming folder, resuming if interrupted."""

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
from elastic_yolo.durable import make_folder, write_durable
from elastic_yolo.provision.errors import ProvisionError, SourceUnavailable, WrongContent
from elastic_yolo.provision.progress import Progress
from elastic_yolo.provision.sources import ResumePoint, SourceStream, choose_source, redacted
from elastic_yolo.store.errors import StoreFull
from elastic_yolo.store.layout import Layout

ATTEMPTS = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# A transfer of fewer than _LEAST_BYTES bytes in PATIENCE_S seconds counts as failed.
_LEAST_BYTES = 10_000
PATIENCE_S = 30.0

T = TypeVar("T")


@dataclass
class Traffic:
    """Number of requests to the sources, and bytes received."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Download:
    """Downloads files, with retries. `require_space(n)` raises StoreFull if n bytes do not fit."""

    layout: Layout
    progress: Progress
    require_space: Callable[[int], None]
    traffic: Traffic = field(default_factory=Traffic)
    sleep: Callable[[float], None] = time.sleep
    attempts: int = ATTEMPTS
    patience_s: float = PATIENCE_S

    def fetch(self, address: str, name: str, digest: str | None) -> tuple[Path, str]:
        """Return a file in the store's incoming folder, synced to disk, and its digest.

        After a retryable error it continues where it stopped, up to `attempts` times without
        progress. Raises ProvisionError or StoreFull; a partial file remains for the next run.
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
                raise WrongContent(f"{redacted(address)}: expected {digest}, found {found}")
            except ProvisionError as error:
                # An attempt that made progress resets the count.
                attempt = attempt + 1 if part.size <= before else 1
                if not error.retryable or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))

    def retry(self, operation: Callable[[], T]) -> T:
        """Call `operation` up to `attempts` times, as `fetch` does; raises ProvisionError."""
        for attempt in itertools.count(1):
            self.traffic.requests += 1
            try:
                return operation()
            except ProvisionError as error:
                if not error.retryable or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))
        raise AssertionError("unreachable: the loop returns or raises")

    def _continue(self, part: _Part, address: str, name: str) -> str:
        """Fetch the missing part; returns the digest of the whole file."""
        start = part.start()
        self.traffic.requests += 1
        with choose_source(address)(address, start) as opened:
            if opened.size is not None:
                self.require_space(opened.size - opened.offset)
            received = opened.offset
            with part.writing(opened) as (write, digest):
                for chunk in _in_time(opened, address, self.patience_s):
                    if opened.size is None:
                        self.require_space(len(chunk))
                    write(chunk)
                    received += len(chunk)
                    self.traffic.bytes += len(chunk)
                    self.progress(name, received, opened.size or 0)
            if opened.size is not None and part.size != opened.size:
                raise SourceUnavailable(
                    f"{redacted(address)}: received {part.size:,} of {opened.size:,} bytes"
                )
        return "sha256:" + digest.hexdigest()


class _Part:
    """A partial file, and the validator (such as an ETag) that its source gave for the content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def start(self) -> ResumePoint:
        try:
            return ResumePoint(self.size, json.loads(self._note.read_bytes())["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return ResumePoint()

    def complete(self) -> None:
        self._note.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    @contextmanager
    def writing(
        self, opened: SourceStream
    ) -> Iterator[tuple[Callable[[bytes], object], hashlib._Hash]]:
        """Append from `opened.offset`, or start again at 0; yields (write, digest) and syncs."""
        digest = hashlib.sha256()
        if opened.offset:
            with self.path.open("rb") as begun:
                while chunk := begun.read(2**20):
                    digest.update(chunk)
        else:
            self.remove()
            if opened.validator is not None:
                write_durable(self._note, json.dumps({"validator": opened.validator}).encode())
        with self.path.open("ab" if opened.offset else "wb") as file:

            def write(chunk: bytes) -> None:
                digest.update(chunk)
                try:
                    file.write(chunk)
                except OSError as error:
                    raise _full(self.path, error) from error

            yield write, digest
            try:
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise _full(self.path, error) from error


def _in_time(opened: SourceStream, address: str, patience_s: float) -> Iterator[bytes]:
    """Yield the chunks; raises SourceUnavailable if fewer than _LEAST_BYTES come in patience_s."""
    received, since = 0, time.monotonic()
    for chunk in opened.chunks:
        received += len(chunk)
        now = time.monotonic()
        if received >= _LEAST_BYTES:
            received, since = 0, now
        elif now - since > patience_s:
            raise SourceUnavailable(
                f"{redacted(address)}: too slow: {received:,} bytes in {now - since:.0f} s"
            )
        yield chunk


def free_bytes(layout: Layout) -> int:
    """Return the free space of the store's file system in bytes."""
    return shutil.disk_usage(layout.root).free


def pause_s(attempt: int) -> float:
    """Return the pause in seconds after `attempt` failures: exponential backoff with jitter."""
    longest = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  # jitter


def _full(path: Path, error: OSError) -> StoreFull:
    return StoreFull(f"{path}: {error.strerror}")
