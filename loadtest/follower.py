"""A timeline file that is being written, read as it grows."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from elastic_yolo.lab.timeline import Sample, parse_sample

# What a chart shows: a quarter of an hour of three tiers at a line a second.
MOST_SAMPLES = 2700


class Follower:
    """Reads what is added to a file, and keeps the newest of it."""

    def __init__(self, path: Path) -> None:
        """Read nothing yet; the file need not be there."""
        self._path = path
        self._offset = 0
        self._part = b""
        self.samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self.fault: str | None = None
        """Why nothing can be read, or the last line that was no sample."""

    def read(self) -> None:
        """Take what has come. Bad lines are passed over, and a file that shrank is read anew."""
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._offset:
                    self._begin_again()
                file.seek(self._offset)
                new = file.read()
        except OSError as error:
            self.fault = f"{self._path}: {error.strerror}"
            return
        self._offset += len(new)
        *lines, self._part = (self._part + new).split(b"\n")
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

    def _begin_again(self) -> None:
        self._offset = 0
        self._part = b""
        self.samples.clear()
        self.fault = None
