"""Writing so that after a crash, of the process or of the machine, all of it is there or nothing.

What it relies on: rename() within a folder replaces in one step (POSIX; NFS has it as one
operation), and fsync() of a file, then of its folder, makes it last.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

UNFINISHED = ".new-"
"""What begins the name of everything that is not finished yet: readers never look at it."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or nothing, also after a crash."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                # mkstemp's 0600 would keep the services of other users out.
                Path(file.name).chmod(0o644)
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_file(path: Path, content: bytes) -> None:
    """Write a small file, in place of an older one, so that it lasts; raises OSError."""
    write_whole(path, content)
    sync_folder(path.parent)


def publish_folder(unfinished: Path, path: Path) -> None:
    """Give a folder with synced files its name; there must be none yet. Raises OSError."""
    unfinished.chmod(0o755)
    sync_folder(unfinished)
    unfinished.rename(path)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, for everybody to read; raises OSError."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    # Whatever the umask here is.
    path.chmod(0o755)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder last; raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
