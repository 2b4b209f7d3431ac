"""One writer at a time.

A POSIX lock (fcntl) on a file of the store: the kernel gives it back when its holder ends, however
that happens. NFSv4 has such locks built in and takes them from a client that is gone after its
lease (90 s mostly); NFSv3 needs its lock daemon. A file system without locks says so, and then
nothing is written.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from elastic_yolo.durable import make_folder
from elastic_yolo.store.errors import StoreBusy, StoreError
from elastic_yolo.store.layout import Layout

_POLL_S = 0.2


@contextmanager
def locked(layout: Layout, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the store's lock; raises StoreBusy if that is not possible within `wait_s` seconds."""
    try:
        make_folder(layout.root)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{layout.root}: cannot be written to: {error.strerror}") from error
    try:
        _take(handle, layout, time.monotonic() + wait_s)
        yield
    finally:
        os.close(handle)


def _take(handle: int, layout: Layout, until: float) -> None:
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= until:
                raise StoreBusy(f"{layout.root}: another process is writing to it") from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise StoreError(
                f"{layout.lock}: this file system has no locks: {error.strerror}"
            ) from error
        else:
            return
