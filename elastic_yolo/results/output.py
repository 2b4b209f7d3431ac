"""Where results go while they come: a stream, or a file that is valid at every moment.

A table, JSON lines and CSV are appended to, one write for each picture. COCO is one object, so that
its file is replaced as a whole from time to time, and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from elastic_yolo.durable import write_atomic
from elastic_yolo.reading import STDOUT, naming
from elastic_yolo.results.coco import coco_object, read_coco
from elastic_yolo.results.comma_separated import csv_header, csv_name, csv_rows, read_csv
from elastic_yolo.results.json_lines import json_line, read_json_lines
from elastic_yolo.results.result import NotResults, Result
from elastic_yolo.results.table import table_rows

TABLE, COCO = "table", "coco"
FORMATS = (TABLE, "jsonl", "csv", COCO)
_EVERY_S = 10.0

_ENCODE: dict[str, Callable[[Result], str]] = {
    TABLE: table_rows,
    "jsonl": json_line,
    "csv": csv_rows,
}
_READ: dict[str, Callable[[str], list[Result]]] = {
    "jsonl": read_json_lines,
    "csv": read_csv,
    COCO: read_coco,
}


class Output(Protocol):
    """What takes results."""

    def add(self, result: Result) -> None:
        """Write the result for a picture; raises OSError."""


class Appended:
    """Text that is appended to a stream: a complete picture with every write."""

    def __init__(self, stream: BinaryIO, form: str, name: str) -> None:
        """Write in a format that is not COCO; `name` is the stream's, for errors."""
        self._stream = stream
        self._name = name
        self._encode = _ENCODE[form]

    def add(self, result: Result) -> None:
        """See Output.add."""
        with naming(self._name):
            write_all(self._stream, self._encode(result).encode("utf-8", "backslashreplace"))


class Collected:
    """One COCO object, for which all results are kept."""

    def __init__(
        self, write: Callable[[bytes], None], earlier: Sequence[Result], every_s: float
    ) -> None:
        """Write all results, those of an earlier run too, at most every `every_s` seconds."""
        self._write = write
        self._results = list(earlier)
        self._every_s = every_s
        self._written_at = time.monotonic()

    def add(self, result: Result) -> None:
        """See Output.add."""
        self._results.append(result)
        if time.monotonic() - self._written_at > self._every_s:
            self.finish()

    def finish(self) -> None:
        """Write the object."""
        self._write(coco_object(self._results).encode())
        # From the end: a large file may take long.
        self._written_at = time.monotonic()


@contextmanager
def to_stream(stream: BinaryIO, form: str) -> Iterator[Output]:
    """Write results to standard output, COCO at the end; raises OSError."""

    def write(content: bytes) -> None:
        with naming(STDOUT):
            write_all(stream, content)

    if form != COCO:
        if form == "csv":
            write(csv_header().encode())
        yield Appended(stream, form, STDOUT)
        return
    collected = Collected(write, [], float("inf"))
    try:
        yield collected
    finally:
        collected.finish()


@contextmanager
def to_file(path: Path, form: str, earlier: Sequence[Result]) -> Iterator[Output]:
    """Write results to a file, behind those of an earlier run; raises OSError.

    What else the file held is lost. Of a symbolic link, the file that it leads to is written.
    """
    path = path.resolve()
    if form == COCO:
        collected = Collected(lambda content: write_atomic(path, content), earlier, _EVERY_S)
        collected.finish()
        try:
            yield collected
        finally:
            collected.finish()
        return
    encode = _ENCODE[form]
    head = csv_header() if form == "csv" else ""
    text = head + "".join(map(encode, earlier))
    # Also what a killed run left of a line is gone now.
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
    with path.open("ab", buffering=0) as file:
        yield Appended(file, form, str(path))


def read_results(path: Path, form: str) -> list[Result]:
    """Return the complete results that a run, killed or not, has left; none without a file.

    Raises OSError, and NotResults for a file of another kind.
    """
    try:
        # What a killed run left of a last letter is part of a line without end.
        text = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    try:
        return _READ[form](text)
    except NotResults as error:
        raise NotResults(f"{path}: {error}") from None


def name_in(form: str, picture: str) -> str:
    """Return the name that a picture has in the results that `read_results` returns."""
    return csv_name(picture) if form == "csv" else picture


def write_all(stream: BinaryIO, content: bytes) -> None:
    """Write all bytes and flush; an unbuffered file may take fewer at a time."""
    left = memoryview(content)
    while left:
        left = left[stream.write(left) :]
    stream.flush()
