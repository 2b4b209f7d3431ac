"""Why a folder cannot be written to, in words."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

_MEGABYTE = 1_000_000
# More than the rest of a block that a failed write may have left.
_PROBE_BYTES = 2**20


def describe_write_error(folder: Path, error: OSError) -> str:
    """Return one line with the folder and the reason, such as a full disk."""
    match error.errno:
        case errno.ENOSPC:
            return f"{folder} is full: {error.strerror}{_space(folder)}"
        case errno.EDQUOT:
            return f"{folder} is full: {error.strerror}"
        case errno.EROFS:
            return f"{folder} is read-only: {error.strerror}"
        case errno.EACCES | errno.EPERM:
            return f"{folder} is not writable by user {os.geteuid()}: {error.strerror}"
        case errno.ENOTDIR | errno.EEXIST:
            return f"{error.filename or folder} is not a folder: {error.strerror}"
        case _:
            return f"{folder} cannot be written to: {error.strerror or error}"


def require_writable(folder: Path) -> None:
    """Write a megabyte to `folder` and delete it; raises OSError if that fails.

    For libraries that do not say why they could not write.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = _PROBE_BYTES
        while left > 0:
            left -= file.write(bytes(left))
        os.fsync(file.fileno())


def _space(folder: Path) -> str:
    try:
        found = os.statvfs(folder)
    except OSError:
        return ""
    if found.f_bavail and not found.f_favail:
        return f" (no inode of {found.f_files:,} is free)"
    free, total = (n * found.f_frsize / _MEGABYTE for n in (found.f_bavail, found.f_blocks))
    return f" ({free:.1f} of {total:.1f} MB are free now, without what did not fit)"
