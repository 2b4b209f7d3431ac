"""Replicas from a timeline file, such as the autoscaler lab's."""

from __future__ import annotations

from pathlib import Path

from elastic_yolo.lab.timeline import Sample, read_timeline
from loadtest.errors import LoadTestError
from loadtest.sources import only_between


class TimelineFile:
    """Reads the file after the run."""

    def __init__(self, path: Path) -> None:
        """Take the path of an existing file."""
        self.name = f"timeline file {path}"
        self._path = path

    def begin(self) -> None:
        """Check that it can be read; raises LoadTestError."""
        self._read()

    def end(self, start_at: float, end_at: float) -> list[Sample]:
        """Return the samples of the run."""
        samples = self._read()
        return only_between(samples, start_at, end_at)

    def notes(self) -> list[str]:
        """Return no notes."""
        return []

    def _read(self) -> list[Sample]:
        try:
            return read_timeline(self._path)
        except OSError as error:
            raise LoadTestError(f"{self._path}: {error.strerror}") from error
        except ValueError as error:
            raise LoadTestError(str(error)) from error
