"""Open files that somebody else made: regular ones only, and no more of them than is sensible."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from elastic_yolo.detector.errors import ModelError

_CHUNK_BYTES = 2**20


def open_regular(path: Path, error: type[ModelError] = ModelError) -> BinaryIO:
    """Open a regular file, or a link to one, for reading bytes; raises `error` if it is none."""
    try:
        # A FIFO would be waited for without end, and a device may do anything when it is opened.
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"{path}: not a regular file")
        # The flag is for a FIFO that took the file's place since.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as reason:
        raise unreadable(path, reason, error) from reason


def read_small(path: Path, most_bytes: int, error: type[ModelError] = ModelError) -> bytes:
    """Return the bytes of a file; raises `error` before reading if there are too many."""
    with open_regular(path, error) as file:
        try:
            size = file_size(file)
            if size > most_bytes:
                raise error(f"{path}: {size:,} bytes: expected at most {most_bytes:,}")
            # Not to the end: a file that somebody is writing to, or one in /proc, may have none.
            return file.read(size)
        except OSError as reason:
            raise unreadable(path, reason, error) from reason


def read_text(
    path: Path, most_bytes: int, error: type[ModelError] = ModelError, *, hint: str = ""
) -> str:
    """Return a UTF-8 file without its byte order mark; raises `error` if it is no such text.

    `hint` ends that message.
    """
    data = read_small(path, most_bytes, error)
    zero = data.find(0)
    if zero >= 0:
        raise error(f"{path}: not a text file (byte {zero} is zero){hint}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{path}: not a text file (byte {reason.start} is not UTF-8){hint}") from None


def sha256(path: Path, most_bytes: int | None = None) -> str:
    """Return the digest of a file as sha256:hex; raises ModelError as `read_small` does."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        try:
            left = file_size(file)
            if most_bytes is not None and left > most_bytes:
                raise ModelError(f"{path}: {left:,} bytes: expected at most {most_bytes:,}")
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                digest.update(chunk)
                left -= len(chunk)
        except OSError as reason:
            raise unreadable(path, reason) from reason
    return "sha256:" + digest.hexdigest()


def file_size(file: BinaryIO) -> int:
    """Return the bytes of an open file, which its name may no longer lead to."""
    return os.fstat(file.fileno()).st_size


def unreadable(path: Path, reason: OSError, error: type[ModelError] = ModelError) -> ModelError:
    """Build the error for what the operating system says about a file."""
    return error(f"{path}: cannot be read: {reason.strerror or reason}")
