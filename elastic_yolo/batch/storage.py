"""Reading from and writing to folders and object stores: local paths, or URLs that fsspec opens.

A local path needs no fsspec. What is written appears under its name all at once.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from elastic_yolo.batch.errors import OutputBusy, StorageFailed
from elastic_yolo.durable import UNFINISHED, make_folder, write_atomic
from elastic_yolo.extras import naming_extra
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.store.faults import is_temporary
from elastic_yolo.write_errors import describe_write_error

MOST_PICTURE_BYTES = 64 * 2**20
"""As large as the largest upload that preprocess can be set to accept."""

_LOCK = ".lock"
# An upload to these replaces an object in one step; elsewhere a file is renamed when it is whole.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"})
# What no second attempt changes.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def is_remote(address: str) -> bool:
    """Return whether an address is a URL for fsspec, not a local path."""
    return "://" in address


def file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path there.

    Raises ValueError for an unknown scheme, and MissingPackage if a package is missing.
    """
    with naming_extra(f"{address.partition('://')[0]}://", "batch"):
        import fsspec  # noqa: PLC0415
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        # fsspec names the package of a scheme that is not installed.
        raise ValueError(f"{address}: {error}") from error
    return system, path


def read_picture(location: str) -> bytes:
    """Return the content of a picture file, by path or URL.

    Raises PictureTooLarge, OSError for what will stay as it is, and StorageFailed for the rest.
    """
    if not is_remote(location):
        with _judged(location):
            return _read_local(Path(location))
    system, path = file_system(location)
    with _judged(location):
        size = system.size(path)
        if size is not None and size > MOST_PICTURE_BYTES:
            raise too_large(size)
        content: bytes = system.cat_file(path)
        return content


def open_archive(address: str) -> IO[bytes]:
    """Open a file for reading at any position; raises OSError or StorageFailed."""
    with _judged(address):
        if not is_remote(address):
            return Path(address).open("rb")
        system, path = file_system(address)
        opened: IO[bytes] = system.open(path, "rb")
        return opened


def too_large(size: int) -> PictureTooLarge:
    """Build the error for a picture file that is larger than any that is read."""
    return PictureTooLarge(f"{size:,} bytes: expected at most {MOST_PICTURE_BYTES:,}")


def _read_local(path: Path) -> bytes:
    # Not blocking: a FIFO between the pictures would wait for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        size = os.fstat(handle).st_size
        if size > MOST_PICTURE_BYTES:
            raise too_large(size)
        return file.read(size)


@contextmanager
def _judged(location: str) -> Iterator[None]:
    """Raise StorageFailed for errors that may be over later."""
    try:
        yield
    except _FINAL:
        raise
    except OSError as error:
        if is_remote(location) or is_temporary(error):
            raise StorageFailed(f"{location}: {_reason(error)}") from error
        raise
    except PictureTooLarge:
        raise
    except Exception as error:
        # Object stores have exceptions of their own for connections that fail.
        if not is_remote(location):
            raise
        raise StorageFailed(f"{location}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error) or type(error).__name__).split())


class Output(Protocol):
    """A folder for results. Every method raises StorageFailed, or OSError for what will stay."""

    address: str

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from writing to it, where that is possible; raises OutputBusy."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, which survives a crash when this returns."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""


class LocalOutput:
    """A folder of this machine, or one that it mounts."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which `locked` creates."""
        self.address = str(folder)
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other processes from writing to it; raises OutputBusy."""
        with self._failing():
            make_folder(self._folder)
            handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise OutputBusy(f"{self.address}: another process writes to it") from None
            except OSError as error:
                # A file system without locks: nothing keeps a second process away.
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
            yield
        finally:
            os.close(handle)

    def write(self, name: str, content: bytes) -> None:
        """See Output.write."""
        path = self._folder / name
        with self._failing():
            make_folder(path.parent)
            write_atomic(path, content)

    def read(self, name: str) -> bytes | None:
        """See Output.read."""
        with self._failing():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def remove(self, name: str) -> None:
        """See Output.remove."""
        with self._failing():
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            described = describe_write_error(self._folder, error)
            raise (StorageFailed if is_temporary(error) else OSError)(described) from error


class RemoteOutput:
    """A folder of an object store, or of another file system that fsspec opens."""

    def __init__(self, address: str) -> None:
        """Use a URL; raises ValueError or MissingPackage."""
        self.address = address.rstrip("/")
        self._system, self._root = file_system(self.address)
        protocol = self._system.protocol
        names = (protocol,) if isinstance(protocol, str) else protocol
        self._replaces = not _OBJECT_STORES.isdisjoint(names)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: object stores have no locks. docs/batch.md says so."""
        yield

    def write(self, name: str, content: bytes) -> None:
        """See Output.write."""
        path = f"{self._root}/{name}"
        with _judged(f"{self.address}/{name}"):
            if self._replaces:
                self._system.pipe_file(path, content)
                return
            folder, _, last = path.rpartition("/")
            self._system.makedirs(folder, exist_ok=True)
            unfinished = f"{folder}/{UNFINISHED}{last}"
            self._system.pipe_file(unfinished, content)
            self._system.mv(unfinished, path)

    def read(self, name: str) -> bytes | None:
        """See Output.read."""
        with _judged(f"{self.address}/{name}"):
            try:
                content: bytes = self._system.cat_file(f"{self._root}/{name}")
            except FileNotFoundError:
                return None
            return content

    def remove(self, name: str) -> None:
        """See Output.remove."""
        with _judged(f"{self.address}/{name}"):
            if self._system.exists(path := f"{self._root}/{name}"):
                self._system.rm_file(path)


def open_output(address: str) -> Output:
    """Return the folder of an address; raises ValueError or MissingPackage."""
    return RemoteOutput(address) if is_remote(address) else LocalOutput(Path(address))
