"""A timeline file that is being written, read as it grows."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import BinaryIO

from autoscaler.timeline import Sample, parse_sample

# What a chart shows: a quarter of an hour of three tiers at a line a second.
MOST_SAMPLES = 2700


class Follower:
    """Reads what is added to a file, and keeps the newest of it."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file need not be there."""
        self._path = path
        self._file: BinaryIO | None = None
        self._part = b""
        self.samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self.fault: str | None = None
        """Why nothing can be read, or the last line that was no sample."""

    def read(self) -> None:
        """Take what has come. Bad lines are passed over, and a file that shrank is read anew."""
        try:
            new = self._opened().read()
            *lines, self._part = (self._part + new).split(b"\n")
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
            return
        if lines:
            self.fault = None
        for line in filter(None, lines):
            try:
                self.samples.append(parse_sample(line.decode()))
            except ValueError as error:
                self.fault = f"{self._path}: {error}"

    def newest(self) -> list[Sample]:
        """Return the newest sample of each tier."""
        return list({sample.tier: sample for sample in self.samples}.values())

    def _opened(self) -> BinaryIO:
        if self._file is not None and self._path.stat().st_size >= self._file.tell():
            return self._file
        if self._file is not None:
            self._file.close()
            self._file = None
        self._part = b""
        self.samples.clear()
        self.fault = None
        self._file = self._path.open("rb")
        return self._file
