"""Source pypi:PROJECT==VERSION/PATH: a file inside a package of pip's package index.

PATH is the file's path in the wheel; in a source distribution it lies below PROJECT-VERSION/. The
package is never installed and nothing of it is run. Messages say "the package index" and never its
address, which may contain credentials.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, NamedTuple

from elastic_yolo.provision.errors import (
    ConfigError,
    ProvisionError,
    SourceRefused,
    WrongContent,
)
from elastic_yolo.provision.sources.archive import Member, open_tar, open_zip
from elastic_yolo.provision.sources.index_page import IndexFile, choose_files
from elastic_yolo.provision.sources.package_index import PackageIndex, open_indexes
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream, redacted

_ADDRESS = re.compile(r"pypi:([\w.-]+)==([\w.!+-]+)/([^\x00-\x1f]+)")
# Wheels are read from a temporary file.
_MOST_ARCHIVE_BYTES = 2**30


class _Place(NamedTuple):
    project: str
    version: str
    path: str


@contextmanager
def open_pypi(address: str, start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`; an archive is compressed, so a file in it begins at 0 again."""
    place = _parse(address)
    with ExitStack() as stack:
        with _naming(address):
            member = _open_first(stack, place, start.on_archive)
        yield SourceStream(_named(address, member.chunks), 0, member.size, None)


def _parse(address: str) -> _Place:
    found = _ADDRESS.fullmatch(address)
    if found is None or ".." in found[3].split("/"):
        raise ConfigError(f"{redacted(address)}: expected pypi:PROJECT==VERSION/PATH/IN/PACKAGE")
    return _Place(*found.groups())


def _open_first(stack: ExitStack, place: _Place, progress: Callable[[int], None]) -> Member:
    """Open the file in the first archive of the first index that has it; raises ProvisionError."""
    errors: list[ProvisionError] = []
    for index in open_indexes():
        try:
            files = index.project(place.project)
        except ProvisionError as error:
            errors.append(error)
            continue
        for file in choose_files(files, place.project, place.version):
            try:
                return stack.enter_context(_open_member(index, file, place.path, progress))
            except ProvisionError as error:
                errors.append(error)
    retryable = [error for error in errors if error.retryable]
    if errors:
        raise (retryable or errors)[-1]
    raise SourceRefused(f"the package index has no archive of {place.project} {place.version}")


@contextmanager
def _open_member(
    index: PackageIndex, file: IndexFile, path: str, progress: Callable[[int], None]
) -> Iterator[Member]:
    with index.archive(file.url) as chunks:
        archive = _Archive(file, chunks)
        if file.name.endswith((".tar.gz", ".tgz")):
            stream = io.BufferedReader(archive, 2**16)
            with open_tar(stream, f"{file.folder}{path}") as member:
                yield member._replace(chunks=_then(member.chunks, archive.check))
        else:
            # The table of contents is at the end of a zip.
            with tempfile.TemporaryFile() as copy:
                _copy(archive, copy, progress)
                archive.check()
                with open_zip(copy, f"{file.folder}{path}") as member:
                    yield member


class _Archive(io.RawIOBase):
    """An archive that is being downloaded; computes its hash."""

    def __init__(self, file: IndexFile, chunks: Iterator[bytes]) -> None:
        self._file = file
        self._chunks = chunks
        self._rest = b""
        self._left = _MOST_ARCHIVE_BYTES
        self._hash = None if file.hash is None else hashlib.new(file.hash[0], usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as io calls it
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left -= len(chunk)
            if self._left < 0:
                raise SourceRefused(f"{self._file.name}: more than {_MOST_ARCHIVE_BYTES:,} bytes")
            if self._hash is not None:
                self._hash.update(chunk)
            self._rest = chunk
        taken, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)

    def check(self) -> None:
        """Read the archive to its end and check its hash; raises WrongContent."""
        while self.read(2**20):
            pass
        if self._file.hash is None or self._hash is None:
            return
        kind, expected = self._file.hash
        if self._hash.hexdigest() != expected:
            raise WrongContent(
                f"{self._file.name}: the package index states {kind} {expected}, "
                f"found {self._hash.hexdigest()}"
            )


def _copy(archive: _Archive, target: IO[bytes], progress: Callable[[int], None]) -> None:
    while chunk := archive.read(2**20):
        target.write(chunk)
        progress(target.tell())


def _then(chunks: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    yield from chunks
    check()


def _named(address: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _naming(address):
        yield from chunks


@contextmanager
def _naming(address: str) -> Iterator[None]:
    """Begin the messages of errors with the address."""
    try:
        yield
    except ProvisionError as error:
        raise type(error)(f"{address}: {error}") from None
