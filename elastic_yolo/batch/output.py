"""The folder of the results, local or a URL: what is written appears under its name all at once."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from elastic_yolo.batch.errors import OutputBusy, StorageFailed
from elastic_yolo.batch.storage import file_system, is_remote, judged
from elastic_yolo.durable import UNFINISHED, make_folder, write_durable
from elastic_yolo.store.faults import is_temporary
from elastic_yolo.write_errors import describe_write_error

_LOCK = ".lock"
# For files that are being written; what a killed run left there is removed by the next one.
_ROOM = ".unfinished"
# An upload to these replaces an object in one step; elsewhere a file is renamed when it is whole.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci"})


class Output(Protocol):
    """A folder for results; written to inside `locked`.

    Every method raises StorageFailed, or OSError for what will stay.
    """

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
            with self._failing():
                self._lock(handle)
            with self._room():
                yield
        finally:
            os.close(handle)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Keep an empty folder for files that are being written."""
        room = self._folder / _ROOM
        with self._failing():
            shutil.rmtree(room, ignore_errors=True)
            make_folder(room)
        try:
            yield
        finally:
            with suppress(OSError):
                room.rmdir()

    def _lock(self, handle: int) -> None:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise OutputBusy(f"{self.address}: another process writes to it") from None
        except OSError as error:
            # A file system without locks: nothing keeps a second process away.
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise

    def write(self, name: str, content: bytes) -> None:
        """See Output.write."""
        path = self._folder / name
        with self._failing():
            make_folder(path.parent)
            write_durable(path, content, self._folder / _ROOM)

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
        """Use a URL; raises BadInput or MissingPackage."""
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
        with judged(f"{self.address}/{name}"):
            path = self._path(name)
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
        with judged(f"{self.address}/{name}"):
            try:
                content: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
            return content

    def remove(self, name: str) -> None:
        """See Output.remove."""
        path = self._path(name)
        with judged(f"{self.address}/{name}"), suppress(FileNotFoundError):
            if self._replaces or self._system.exists(path):
                self._system.rm_file(path)

    def _path(self, name: str) -> str:
        # Names there are UTF-8; Linux allows others.
        return f"{self._root}/{name}".encode("utf-8", "surrogateescape").decode(
            "utf-8", "backslashreplace"
        )


def open_output(address: str) -> Output:
    """Return the folder of an address; raises BadInput or MissingPackage."""
    return RemoteOutput(address) if is_remote(address) else LocalOutput(Path(address))
