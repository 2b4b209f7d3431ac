"""Atomic and durable writes: after a crash, of the process or the machine, all is there or nothing.

Relies on two guarantees: rename() within a folder replaces a file atomically (POSIX; NFS has it as
one operation), and fsync() of a file, then of its folder, makes the file survive a power failure.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

UNFINISHED = ".new-"
"""Prefix of the name of every unfinished file or folder; readers ignore these."""


def write_atomic(path: Path, content: bytes, room: Path | None = None) -> None:
    """Write a file so that a reader sees the old content or all of the new one; raises OSError.

    The unfinished file is in the folder `room` of the same file system, or else beside the file.
    """
    folder = path.parent if room is None else room
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=UNFINISHED, delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                # mkstemp creates files with mode 0600, which services of other users cannot read.
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_durable(path: Path, content: bytes, room: Path | None = None) -> None:
    """Write a file like `write_atomic` and sync its folder, so that it survives a power failure.

    Raises OSError.
    """
    write_atomic(path, content, room)
    sync_folder(path.parent)


def publish_folder(unfinished: Path, path: Path) -> None:
    """Rename a folder of synced files to `path`, which must not exist yet; raises OSError."""
    unfinished.chmod(0o755)
    sync_folder(unfinished)
    unfinished.rename(path)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a folder and its parents with mode 0755; raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    # mkdir applies the umask, which may deny other users.
    path.chmod(0o755)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync a folder's entries to disk; raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
