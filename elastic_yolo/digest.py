"""SHA-256 digests, always written as sha256: and 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 2**20


def digest_of_file(path: Path) -> str:
    """Return the digest of a file's content; raises OSError."""
    with path.open("rb") as file:
        return digest_of_open_file(file)


def digest_of_open_file(file: BinaryIO) -> str:
    """Return the digest of an open file's content; raises OSError.

    Reads no further than the size that the file has now: a file that another process appends to,
    or one in /proc, may have no end.
    """
    digest = hashlib.sha256()
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
        digest.update(chunk)
        left -= len(chunk)
    return "sha256:" + digest.hexdigest()


def digest_of_bytes(content: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(content).hexdigest()
