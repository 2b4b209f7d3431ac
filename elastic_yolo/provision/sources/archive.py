"""Read one file out of a package's archive; nothing in it is run or written under its own name."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from elastic_yolo.provision.errors import SourceRefused, WrongContent

_CHUNK_BYTES = 2**18
# An attacker's archive could expand to any size.
_MOST_BYTES = 2 * 2**30
_MOST_MEMBER_BYTES = 2**30
# Long names and attributes of one member are read into memory.
_MOST_HEADER_BYTES = 2**20


class Member(NamedTuple):
    """An open file of an archive."""

    chunks: Iterator[bytes]
    size: int


@contextmanager
def open_tar(stream: IO[bytes], name: str) -> Iterator[Member]:
    """Open a file of a .tar.gz that is read from beginning to end, so that it needs no disk.

    Raises SourceRefused if there is no such regular file, WrongContent for a damaged archive.
    """
    with _translated_errors():
        bounded = _Bounded(gzip.GzipFile(fileobj=stream))
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            info = _find(archive, bounded, name)
            file = archive.extractfile(info)
            if file is None:
                raise SourceRefused(f"{name} is not a regular file of the archive")
            bounded.left = _MOST_BYTES
            yield Member(_chunks(file), info.size)


@contextmanager
def open_zip(file: IO[bytes], name: str) -> Iterator[Member]:
    """Open a file of a .zip or .whl; raises as `open_tar` does."""
    with _translated_errors(), zipfile.ZipFile(file) as archive:
        try:
            info = archive.getinfo(name)
        except KeyError:
            raise SourceRefused(f"the archive has no {name}") from None
        _check_size(name, info.file_size)
        with archive.open(info) as member:
            yield Member(_chunks(member), info.file_size)


def _find(archive: tarfile.TarFile, bounded: _Bounded, name: str) -> tarfile.TarInfo:
    """Return the member of that name; raises SourceRefused."""
    skipped = 0
    while True:
        bounded.left = skipped + _MOST_HEADER_BYTES
        info = archive.next()
        if info is None:
            raise SourceRefused(f"the archive has no {name}")
        # In a stream, the content of a member is read with the header of the next one.
        skipped = info.size
        if skipped + bounded.total > _MOST_BYTES:
            raise SourceRefused(f"the archive expands to more than {_MOST_BYTES:,} bytes")
        if info.name.removeprefix("./") == name and info.isreg():
            _check_size(name, info.size)
            return info
        # tarfile keeps all members for other uses.
        archive.members.clear()  # type: ignore[attr-defined]  # not in typeshed


class _Bounded(io.RawIOBase):
    """A stream that refuses to be read further than `left` bytes."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self.left = _MOST_HEADER_BYTES
        self.total = 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.left -= len(data)
        self.total += len(data)
        if self.left < 0:
            raise SourceRefused("the archive has an unusually long header")
        return data


def _check_size(name: str, size: int) -> None:
    if size > _MOST_MEMBER_BYTES:
        raise SourceRefused(f"{name}: {size:,} bytes: expected at most {_MOST_MEMBER_BYTES:,}")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with _translated_errors():
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise errors of the libraries as WrongContent."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise WrongContent(f"the archive is damaged: {type(error).__name__}") from None
    except (NotImplementedError, RuntimeError) as error:
        # Encryption, and kinds of compression that zipfile does not know.
        raise SourceRefused(f"the archive cannot be read: {type(error).__name__}") from None
