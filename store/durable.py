"""Writing so that after a crash, of the process or of the machine, all of it is there or nothing.

What it relies on: rename() within a folder replaces in one step (POSIX; NFS has it as one
operation), and fsync() of a file, then of its folder, makes it last.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".new-"
"""What begins the name of everything that is not finished yet: readers never look at it."""


def write_file(path: Path, content: bytes) -> None:
    """Write a small file, in place of an older one; raises OSError."""
    with new_file(path) as file:
        file.write(content)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name when the block ends, and vanishes if the block fails."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            # mkstemp's 0600 would keep the services of other users out.
            os.fchmod(handle, 0o644)
            os.fsync(handle)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink()
        raise
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
