"""Files of this machine, or of a volume that is mounted here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from elastic_yolo.provision.errors import SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources.opened import Opened, Start

_PIECE_BYTES = 2**20


@contextmanager
def open_file(address: str, start: Start) -> Iterator[Opened]:
    """See `opened.Open`; takes file:///path and plain paths."""
    path = Path(unquote(urlsplit(address).path) if address.startswith("file:") else address)
    try:
        real = _within_folder(path)
        # Before it is opened: a FIFO would be waited for, and a device may do anything.
        if not stat.S_ISREG(real.stat().st_mode):
            raise SourceRefused(f"{path}: not a regular file")
        file = real.open("rb")
    except OSError as error:
        raise SourceRefused(f"{path}: {error.strerror}") from error
    with file:
        status = os.fstat(file.fileno())
        validator = f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"
        offset = start.offset if start.same_as == validator else 0
        file.seek(offset)
        yield Opened(_pieces(path, file), offset, status.st_size, validator)


def _within_folder(path: Path) -> Path:
    """Return the file that a path means; a link may lead to one in the same folder or below.

    So Kubernetes mounts a ConfigMap. Whoever may only write there cannot have other files read.
    """
    real = path.resolve(strict=True)
    if not real.is_relative_to(path.parent.resolve()):
        raise SourceRefused(f"{path}: a link that leads out of its folder")
    return real


def _pieces(path: Path, file: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := file.read(_PIECE_BYTES):
            yield piece
    except OSError as error:
        raise SourceUnavailable(f"{path}: {error.strerror}") from error
