"""The store's lock, which allows one writer at a time.

A POSIX lock (fcntl) on a file of the store: the kernel releases it when its holder ends for any
reason. NFSv4 supports such locks and revokes those of a vanished client after its lease, usually
90 s; NFSv3 needs its lock daemon. On a file system without locks, writing is an error.
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
    """Hold the store's lock, and create the store's folder if it is missing.

    Raises StoreBusy if another process still holds the lock after `wait_s` seconds, and StoreError
    if the store is not writable.
    """
    try:
        make_folder(layout.root)
        handle = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{layout.root}: not writable: {error.strerror}") from error
    try:
        _acquire(handle, layout, time.monotonic() + wait_s)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, layout: Layout, until: float) -> None:
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= until:
                raise StoreBusy(f"{layout.root}: another process is writing to it") from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise StoreError(
                f"{layout.lock}: the file system does not support locks: {error.strerror}"
            ) from error
        else:
            return
