"""Source file:// and plain paths: files of this machine or of a mounted volume."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from elastic_yolo.provision.errors import SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.stream import ResumePoint, SourceStream

_CHUNK_BYTES = 2**20


@contextmanager
def open_file(address: str, start: ResumePoint) -> Iterator[SourceStream]:
    """See `stream.OpenSource`; takes file:///path and plain paths."""
    path = Path(unquote(urlsplit(address).path) if address.startswith("file:") else address)
    try:
        real = _within_folder(path)
        # Before opening: opening a FIFO blocks, and opening a device may have any side effect.
        if not stat.S_ISREG(real.stat().st_mode):
            raise SourceRefused(f"{path}: not a regular file")
        file = real.open("rb")
    except OSError as error:
        raise SourceRefused(f"{path}: {error.strerror}") from error
    with file:
        status = os.fstat(file.fileno())
        validator = f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
        offset = start.offset if start.validator == validator else 0
        file.seek(offset)
        yield SourceStream(_chunks(path, file), offset, status.st_size, validator)


def _within_folder(path: Path) -> Path:
    """Resolve a path; a link may only lead to a file in the same folder or below it.

    Kubernetes mounts a ConfigMap with such links. Other links would let a user who can write to
    the folder publish any file of the machine.
    """
    real = path.resolve(strict=True)
    if not real.is_relative_to(path.parent.resolve()):
        raise SourceRefused(f"{path}: a link that leads out of its folder")
    return real


def _chunks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror}") from error
