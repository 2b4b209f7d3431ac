"""JSON as a sink: lines on stdout or in a file that grows, or a file for each result."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from elastic_yolo.durable import sync_folder, write_atomic
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.message import Result
from elastic_yolo.write_errors import describe_write_error, require_writable

STDOUT = "-"
SUFFIX = ".jsonl"
_NEWLINE = b"\n"
_FOR_GOOD = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR})


class StdoutSink:
    """Writes a line for each result to stdout."""

    name = STDOUT

    def write(self, results: Sequence[Result]) -> None:
        """Write lines, and flush; raises Refused if nobody reads them any more."""
        try:
            sys.stdout.buffer.write(_to_lines(results))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Python flushes once more at exit, and would report the error there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Refused("stdout: the program that reads it has ended") from None

    def close(self) -> None:
        """Leave stdout open: it is the process's."""


class FileSink:
    """Appends a line for each result to a file, and syncs it before `write` returns.

    Several processes can append to a file that is not on NFS. If it is renamed or deleted, as by
    logrotate, a new one is begun.
    """

    def __init__(self, path: str) -> None:
        """Open or create the file; raises BadAddress.

        A line that was torn when a process was killed is ended, so that it damages no other one.
        """
        self.name = path
        self._path = Path(path)
        self._folder = self._path.absolute().parent
        self._torn = False
        if self._path.suffix != SUFFIX:
            raise BadAddress(f"{path}: expected a file whose name ends in {SUFFIX}")
        with _beginning(path, self._folder):
            self._file = self._open()

    def write(self, results: Sequence[Result]) -> None:
        """Append lines; raises Unavailable, as when the disk is full, or Refused."""
        with _writing(self.name, self._folder):
            self._follow()
            self._append(_to_lines(results))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _append(self, lines: bytes) -> None:
        if self._torn:
            lines = _NEWLINE + lines
        # Until all is written, its end may be the middle of a line.
        self._torn = True
        while lines:
            lines = lines[os.write(self._file, lines) :]
        os.fsync(self._file)
        self._torn = False

    def _follow(self) -> None:
        """Open the file anew if its name is another file's by now, or nobody's."""
        try:
            same = os.path.samestat(self._path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            same = False
        if not same:
            file = self._open()
            os.close(self._file)
            self._file = file

    def _open(self) -> int:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            size = os.fstat(file).st_size
            self._torn = size > 0 and os.pread(file, 1, size - 1) != _NEWLINE
            sync_folder(self._folder)
        except BaseException:
            os.close(file)
            raise
        return file


class FolderSink:
    """Writes a file for each result, `ID.json`, at once; one that is written again replaces it."""

    def __init__(self, path: str) -> None:
        """Use a folder that exists; raises BadAddress if it cannot be written to."""
        self.name = path
        self._folder = Path(path)
        with _beginning(path, self._folder):
            require_writable(self._folder)

    def write(self, results: Sequence[Result]) -> None:
        """Write the files and sync the folder; raises Unavailable, or Refused."""
        with _writing(self.name, self._folder):
            for one in results:
                write_atomic(self._folder / f"{one.id}.json", _to_lines([one]))
            sync_folder(self._folder)

    def close(self) -> None:
        """Do nothing: no file is open."""


@contextmanager
def _beginning(path: str, folder: Path) -> Iterator[None]:
    """Raise BadAddress for a folder that cannot be written to."""
    try:
        yield
    except OSError as error:
        raise BadAddress(f"{path}: {describe_write_error(folder, error)}") from None


@contextmanager
def _writing(name: str, folder: Path) -> Iterator[None]:
    """Raise Refused for what somebody has to change, Unavailable for a full disk and the like."""
    try:
        yield
    except OSError as error:
        message = f"{name}: {describe_write_error(folder, error)}"
        raise (Refused if error.errno in _FOR_GOOD else Unavailable)(message) from error


def _to_lines(results: Sequence[Result]) -> bytes:
    text = "".join(f"{json.dumps(one.to_json(), ensure_ascii=False)}\n" for one in results)
    # A file name may have bytes that are no characters; JSON has the same escapes as Python.
    return text.encode(errors="backslashreplace")
