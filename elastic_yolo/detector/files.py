"""Bounded reads of untrusted model files: regular files only, and no more than a stated size."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path
from typing import BinaryIO

from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.foreign import HEAD_BYTES, convert_advice, foreign_kind
from elastic_yolo.digest import digest_of_open_file

MOST_PICTURE_BYTES = 64 * 2**20
"""Of a picture file: as large as the largest upload that preprocess can be set to accept."""
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_regular(path: Path, error: type[ModelError] = ModelError) -> BinaryIO:
    """Open a regular file, or a link to one, for reading; raises `error` for anything else."""
    try:
        # Opening a FIFO blocks without end, and opening a device may have any side effect.
        if not stat.S_ISREG(path.stat().st_mode):
            raise error(f"{path}: not a regular file")
        # O_NONBLOCK in case a FIFO has replaced the file since.
        return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as reason:
        raise unreadable(path, reason, error) from reason


def read_small(path: Path, most_bytes: int, error: type[ModelError] = ModelError) -> bytes:
    """Return the content of a regular file; raises `error` for more than `most_bytes`."""
    with open_regular(path, error) as file:
        try:
            size = file_size(file)
            _check_size(path, size, most_bytes, error)
            # Not to its end: a file that another process appends to may have none.
            return file.read(size)
        except OSError as reason:
            raise unreadable(path, reason, error) from reason


def read_text(path: Path, most_bytes: int, error: type[ModelError] = ModelError) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises `error` as `read_small` does, and for content that is not text. The message then names
    what the file is, or its encoding, if that can be told.
    """
    data = _text_bytes(path, most_bytes, error)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as reason:
        advice = convert_advice(data)
        raise error(f"{path}: not a text file (byte {reason.start} is not UTF-8){advice}") from None


def read_ascii_text(
    path: Path, most_bytes: int, error: type[ModelError] = ModelError, *, hint: str = ""
) -> str:
    """Return the text of a file whose meaning is in ASCII, with comments of any encoding.

    A byte that is not UTF-8 becomes a lone surrogate, as in the names of files. Raises `error` as
    `read_text` does for anything else; for an unknown binary file that message ends with `hint`.
    """
    return _text_bytes(path, most_bytes, error, hint).decode("utf-8", "surrogateescape")


def _text_bytes(path: Path, most_bytes: int, error: type[ModelError], hint: str = "") -> bytes:
    """Return the bytes of a text without byte order mark, and without zero bytes behind its end."""
    data = read_small(path, most_bytes, error)
    if kind := foreign_kind(data[:HEAD_BYTES]):
        raise error(f"{path}: {kind}")
    text = data.rstrip(b"\0")
    zero = text.find(0) if text else data.find(0)
    if zero >= 0 or text.startswith(_WIDE_MARKS):
        what = f"byte {zero} is zero" if zero >= 0 else "byte 0 is not UTF-8"
        raise error(f"{path}: not a text file ({what}){convert_advice(data) or hint}")
    return text.removeprefix(codecs.BOM_UTF8)


def digest_of_regular(path: Path, most_bytes: int | None = None) -> str:
    """Return the digest of a regular file as sha256:hex; raises ModelError as `read_small` does."""
    with open_regular(path) as file:
        try:
            if most_bytes is not None:
                _check_size(path, file_size(file), most_bytes, ModelError)
            return digest_of_open_file(file)
        except OSError as reason:
            raise unreadable(path, reason) from reason


def file_size(file: BinaryIO) -> int:
    """Return the size of an open file in bytes; its path may point to another file by now."""
    return os.fstat(file.fileno()).st_size


def unreadable(path: Path, reason: OSError, error: type[ModelError] = ModelError) -> ModelError:
    """Build the error for a file that the operating system cannot read."""
    return error(f"{path}: cannot be read: {reason.strerror or reason}")


def _check_size(path: Path, size: int, most_bytes: int, error: type[ModelError]) -> None:
    if size > most_bytes:
        raise error(f"{path}: {size:,} bytes: expected at most {most_bytes:,}")
