"""Reading from folders and object stores: local paths, or URLs that fsspec opens.

A local path needs no fsspec.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from elastic_yolo.batch.errors import BadInput, StorageFailed
from elastic_yolo.detector.files import MOST_PICTURE_BYTES
from elastic_yolo.extras import naming_extra
from elastic_yolo.picture.errors import PictureError, PictureTooLarge
from elastic_yolo.store.faults import is_temporary

# What no second attempt changes.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_FINAL_NUMBERS = frozenset({errno.ENAMETOOLONG, errno.ELOOP, errno.EROFS, errno.EINVAL})
# S3 answers these with "denied", although new credentials or a set clock end it.
_EXPIRED = frozenset(
    {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"}
)


def is_remote(address: str) -> bool:
    """Return whether an address is a URL for fsspec, not a local path."""
    return "://" in address


def file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path there.

    Raises BadInput for an unknown scheme, and MissingPackage if fsspec is missing.
    """
    with naming_extra(f"{address.partition('://')[0]}://", "batch"):
        import fsspec  # noqa: PLC0415
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        # fsspec names the package of a scheme that is not installed.
        raise BadInput(f"{address}: {error}") from error
    return system, path


def read_picture(location: str) -> bytes:
    """Return the content of a picture file, by path or URL.

    Raises PictureTooLarge, OSError for what will stay as it is, and StorageFailed for the rest.
    """
    if is_remote(location):
        system, path = file_system(location)
        with judged(location):
            return read_object(system, path, system.size(path))
    with judged(location), open(location, "rb", opener=_open_at_once) as file:
        size = os.fstat(file.fileno()).st_size
        require_size(size)
        return file.read(size)


def read_object(system: Any, path: str, size: int | None) -> bytes:
    """Return the content of a picture file of an fsspec file system; use it inside `judged`."""
    require_size(size or 0)
    content: bytes = system.cat_file(path)
    return content


def require_size(size: int) -> None:
    """Raise PictureTooLarge for a picture file that is larger than any that is read."""
    if size > MOST_PICTURE_BYTES:
        raise PictureTooLarge(f"{size:,} bytes: expected at most {MOST_PICTURE_BYTES:,}")


def open_file(address: str) -> IO[bytes]:
    """Open a file for reading at any position; raises OSError or StorageFailed."""
    with judged(address):
        if not is_remote(address):
            return Path(address).open("rb")
        system, path = file_system(address)
        opened: IO[bytes] = system.open(path, "rb")
        return opened


@contextmanager
def judged(location: str) -> Iterator[None]:
    """Raise StorageFailed for errors that may be over later, and OSError for all others.

    Both name the location. PictureError and BadInput pass.
    """
    try:
        yield
    except (PictureError, BadInput, StorageFailed, MemoryError):
        raise
    except Exception as error:
        # Object stores have exceptions of their own for connections that fail.
        remote = is_remote(location)
        if not remote and not isinstance(error, OSError | ValueError):
            raise
        if not _is_final(error, remote=remote):
            raise StorageFailed(f"{location}: {_reason(error)}") from error
        kind = next((kind for kind in _FINAL if isinstance(error, kind)), OSError)
        number = getattr(error, "errno", None) or errno.EINVAL
        raise kind(number, _reason(error), location) from error


def _is_final(error: Exception, *, remote: bool) -> bool:
    if not isinstance(error, OSError):
        # ValueError: what is no name at all, such as one with a zero byte.
        return isinstance(error, ValueError | NotImplementedError)
    if not remote:
        return not is_temporary(error)
    if _code(error) in _EXPIRED:
        return False
    return isinstance(error, _FINAL) or error.errno in _FINAL_NUMBERS


def _code(error: OSError) -> str | None:
    """Return S3's own code of an error."""
    answer = getattr(error.__cause__, "response", None) or {}
    return answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return " ".join((text or str(error) or type(error).__name__).split())


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO between the pictures would wait for a writer.
    return os.open(path, flags | os.O_NONBLOCK)
