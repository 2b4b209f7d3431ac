"""Read a file, a pipe or a terminal to its end, within a time and a size."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

MOST_READ_BYTES = 256 * 2**20
STDIN = 0
"""The descriptor of standard input."""
STDOUT = "standard output"
"""Its name in errors."""
_CHUNK_BYTES = 2**20
_LOOKS_EVERY_S = 0.1


def read_all(
    source: Path | int, most_bytes: int, timeout_s: float, stop: Event | None = None
) -> bytes:
    """Return all bytes of a file or an open descriptor.

    A named pipe is read until its last writer closes it. Raises OSError, which names the file: also
    TimeoutError if the end does not come in time, or if `stop` is set.
    """
    until = time.monotonic() + timeout_s
    pieces: list[bytes] = []
    size = 0
    with naming(source if isinstance(source, Path) else "standard input"), _opened(source) as file:
        while size <= most_bytes:
            _wait(file, until, timeout_s, stop)
            piece = os.read(file, min(_CHUNK_BYTES, most_bytes + 1))
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
        raise OSError(errno.EFBIG, f"expected at most {most_bytes:,} bytes")


async def read_all_async(source: Path | int, most_bytes: int, timeout_s: float) -> bytes:
    """Return what `read_all` returns, without blocking the event loop; raises what it raises.

    A thread reads. It ends soon when the caller is cancelled: a thread that waits for a pipe would
    keep the process from ending.
    """
    stop = Event()
    try:
        outcome = await asyncio.to_thread(_outcome, source, most_bytes, timeout_s, stop)
    finally:
        stop.set()
    if isinstance(outcome, OSError):
        raise outcome
    return outcome


@contextmanager
def naming(file: Path | str) -> Iterator[None]:
    """Give errors of the system the name of the file that they are about."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(file)) from error


def _outcome(source: Path | int, most_bytes: int, timeout_s: float, stop: Event) -> bytes | OSError:
    # asyncio replaces a TimeoutError by one without the name of the file.
    try:
        return read_all(source, most_bytes, timeout_s, stop)
    except OSError as error:
        return error


@contextmanager
def _opened(source: Path | int) -> Iterator[int]:
    if isinstance(source, int):
        yield source
        return
    # Without O_NONBLOCK, open() waits for a writer of a pipe.
    file = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _wait(file: int, until: float, timeout_s: float, stop: Event | None) -> None:
    """Return when there is something to read, or the end."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    while True:
        left_s = until - time.monotonic()
        if left_s <= 0 or (stop is not None and stop.is_set()):
            raise TimeoutError(errno.ETIMEDOUT, f"not read to its end within {timeout_s:g} s")
        if poll.poll(1000 * min(left_s, _LOOKS_EVERY_S)):
            return
