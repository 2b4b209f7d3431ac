"""Reads a timeline file as it grows."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from elastic_yolo.lab.timeline import Sample, parse_sample

# The length of a chart: 15 minutes of three tiers with a line per second.
MOST_SAMPLES = 2700


class Follower:
    """Reads new lines of a file, and keeps the latest samples."""

    def __init__(self, path: Path) -> None:
        """Take the path; the file need not exist yet."""
        self._path = path
        self._offset = 0
        self._part = b""
        self.samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self.fault: str | None = None
        """Why the file cannot be read, or its last invalid line; None without either."""

    def read(self) -> None:
        """Read new lines. Invalid ones are skipped; a file that shrank is read from its start."""
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
        """Return the latest sample of each tier."""
        return list({sample.tier: sample for sample in self.samples}.values())

    def _begin_again(self) -> None:
        self._offset = 0
        self._part = b""
        self.samples.clear()
        self.fault = None
