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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from elastic_yolo.digest import digest_of_bytes, digest_of_file
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
# The same for a source with a fallback: waiting for it would take longer than the fallback does.
_LEAST_BYTES_BESIDE_FALLBACK = 300_000
# A source with a fallback is left after an attempt that brought less than this.
_LEAST_PROGRESS_BYTES = 1_000_000

T = TypeVar("T")


@dataclass
class Traffic:
    """Number of requests to the sources, bytes received, and sources that did not deliver."""

    requests: int = 0
    bytes: int = 0
    passed_over: list[str] = field(default_factory=list)
    """A line for each source after which another one was tried."""


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
    finished: list[_Part] = field(default_factory=list)
    """Complete downloads of files whose digest only this tells."""

    def fetch(
        self,
        address: str,
        name: str,
        digest: str | None,
        *,
        size: int | None = None,
        fallback: bool = False,
    ) -> tuple[Path, str]:
        """Return a file in the store's incoming folder, synced to disk, and its digest.

        A complete download of an earlier run that was not published is used again: without a
        digest only if the source still has the same validator and size. It may be in the store.
        After a retryable error it continues where it stopped, up to `attempts` times without
        progress. With `fallback` (another source is to be tried next) it continues only after an
        attempt with much progress. Raises ProvisionError or StoreFull; a partial file remains for
        the next run.
        """
        make_folder(self.layout.incoming)
        part = self._part(address)
        finished = part.finished()
        if finished is not None and (used := self._reuse(part, finished, address, digest)):
            return used
        attempt = 0
        while True:
            before = part.size
            try:
                found = self._continue(part, address, name, size, fallback=fallback)
                _check_digest(address, digest, found)
            except WrongContent:
                part.remove()
                raise
            except ProvisionError as error:
                gained = part.size - before
                # An attempt that made progress resets the count.
                attempt = attempt + 1 if gained <= 0 else 1
                given_up = fallback and gained < _LEAST_PROGRESS_BYTES
                if not error.retryable or given_up or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))
            else:
                if digest is None:
                    part.complete(found)
                    self.finished.append(part)
                else:
                    part.forget()
                return part.path, found

    def forget_finished(self) -> None:
        """Forget the complete downloads, once they are published under their digests."""
        while self.finished:
            self.finished.pop().forget()

    def retry(self, operation: Callable[[], T], *, fallback: bool = False) -> T:
        """Call `operation` up to `attempts` times, as `fetch` does; raises ProvisionError.

        With `fallback` it is called once.
        """
        for attempt in itertools.count(1):
            self.traffic.requests += 1
            try:
                return operation()
            except ProvisionError as error:
                if not error.retryable or fallback or attempt >= self.attempts:
                    raise
                self.sleep(pause_s(attempt))
        raise AssertionError("unreachable: the loop returns or raises")

    def _part(self, address: str) -> _Part:
        return _Part(self.layout.incoming / digest_of_bytes(address.encode())[7:39])

    def _reuse(
        self, part: _Part, finished: _Finished, address: str, digest: str | None
    ) -> tuple[Path, str] | None:
        """Return the file of a complete download and its digest, or None if it must not be used."""
        places = (part.path, self.layout.blob(finished.digest))
        path = next((one for one in places if _has_content(one, finished)), None)
        if path is not None and digest == finished.digest:
            part.forget()
            return path, digest
        try:
            if path is not None and digest is None and self._is_unchanged(finished, address):
                self.finished.append(part)
                return path, finished.digest
        except ProvisionError:
            # The usual download reports it, or tries again.
            return None
        # Nothing of it may become part of another content.
        part.remove()
        return None

    def _is_unchanged(self, finished: _Finished, address: str) -> bool:
        """Ask the source without reading the content; raises ProvisionError."""
        self.traffic.requests += 1
        with choose_source(address)(address, ResumePoint()) as opened:
            same_size = opened.size in (None, finished.size)
            return same_size and opened.validator == finished.validator

    def _progress_of_archive(self, name: str, received: int) -> None:
        self.progress(f"the package with {name}", received, 0)

    def _continue(
        self, part: _Part, address: str, name: str, size: int | None, *, fallback: bool
    ) -> str:
        """Fetch the missing part; returns the digest of the whole file."""
        start = replace(part.start(), on_archive=partial(self._progress_of_archive, name))
        least = _LEAST_BYTES_BESIDE_FALLBACK if fallback else _LEAST_BYTES
        self.traffic.requests += 1
        with choose_source(address)(address, start) as opened:
            _check_size(address, size, opened.size)
            if opened.size is not None:
                self.require_space(opened.size - opened.offset)
            received = opened.offset
            with part.writing(opened) as (write, digest):
                for chunk in _in_time(opened, address, self.patience_s, least):
                    received += len(chunk)
                    if size is not None and received > size:
                        raise WrongContent(f"{redacted(address)}: more than {size:,} bytes")
                    if opened.size is None:
                        self.require_space(len(chunk))
                    write(chunk)
                    self.traffic.bytes += len(chunk)
                    self.progress(name, received, opened.size or size or 0)
            if opened.size is not None and part.size != opened.size:
                raise SourceUnavailable(
                    f"{redacted(address)}: received {part.size:,} of {opened.size:,} bytes"
                )
        return "sha256:" + digest.hexdigest()


@dataclass(frozen=True)
class _Finished:
    """A complete download: what its source gave for the content, and what arrived."""

    validator: str
    size: int
    digest: str


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

    def complete(self, digest: str) -> None:
        """Note what is complete; without a validator it could not be used again."""
        validator = self.start().validator
        if validator is None:
            self.forget()
        else:
            note = {"validator": validator, "size": self.size, "digest": digest}
            write_durable(self._note, json.dumps(note).encode())

    def finished(self) -> _Finished | None:
        """Return what is complete; a killed run may have noted the size only."""
        try:
            note = json.loads(self._note.read_bytes())
            validator, size = str(note["validator"]), int(note["size"])
            digest = note.get("digest")
            if digest is None and self.size == size:
                digest = digest_of_file(self.path)
            return None if digest is None else _Finished(validator, size, str(digest))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def forget(self) -> None:
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
                note = {"validator": opened.validator, "size": opened.size}
                write_durable(self._note, json.dumps(note).encode())
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


def _has_content(path: Path, finished: _Finished) -> bool:
    try:
        return path.stat().st_size == finished.size and digest_of_file(path) == finished.digest
    except OSError:
        return False


def _check_digest(address: str, expected: str | None, found: str) -> None:
    if expected is not None and found != expected:
        raise WrongContent(f"{redacted(address)}: expected {expected}, found {found}")


def _check_size(address: str, expected: int | None, found: int | None) -> None:
    """Raise WrongContent before a transfer of the wrong file, such as a page of the web site."""
    if expected is not None and found is not None and found != expected:
        raise WrongContent(f"{redacted(address)}: expected {expected:,} bytes, found {found:,}")


def _in_time(opened: SourceStream, address: str, patience_s: float, least: int) -> Iterator[bytes]:
    """Yield the chunks; raises SourceUnavailable if fewer than `least` bytes come in patience_s."""
    received, since = 0, time.monotonic()
    for chunk in opened.chunks:
        received += len(chunk)
        now = time.monotonic()
        if received >= least:
            received, since = 0, now
        elif now - since > patience_s:
            raise SourceUnavailable(
                f"{redacted(address)}: too slow: {received:,} bytes in {now - since:.0f} s"
            )
        yield chunk


def free_bytes(layout: Layout) -> int:
    """Return the free space of the store's file system in bytes."""
    return shutil.disk_usage(layout.root).free


def space_check(layout: Layout) -> Callable[[int], None]:
    """Return a `require_space` for the store's file system."""

    def require(size: int) -> None:
        if size > free_bytes(layout):
            raise StoreFull(f"{layout.root}: no space for {size:,} more bytes")

    return require


def pause_s(attempt: int) -> float:
    """Return the pause in seconds after `attempt` failures: exponential backoff with jitter."""
    longest = min(_FIRST_PAUSE_S * 2 ** (attempt - 1), _LONGEST_PAUSE_S)
    return random.uniform(longest / 2, longest)  # noqa: S311  # jitter


def _full(path: Path, error: OSError) -> StoreFull:
    return StoreFull(f"{path}: {error.strerror}")
