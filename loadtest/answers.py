"""The log of a run, one line per picture: locust's process writes it, ours reads it."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

Outcome = Literal["served", "rejected", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_STARTED, _USERS, _CPU = "started_at", "users", "cpu_s"
_COLUMNS = ("sent_at", "took_ms", "status", "outcome", "picture")


@dataclass(frozen=True)
class Answer:
    """The outcome of one picture."""

    sent_at: float
    """Unix seconds."""
    took_ms: float
    status: int
    """The HTTP status; 0 without a response."""
    outcome: Outcome
    """Served: 200 with detections. Rejected: 429. Failed: everything else."""
    picture: str
    """The picture's size: a key of `loadtest.pictures.SIZES`."""


class AnswerLog:
    """Writes outcomes to a CSV file, each immediately: the progress line reads them meanwhile."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._file = path.open("w", encoding="utf-8", buffering=1, newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(_COLUMNS)

    def begin(self, at: float) -> None:
        """Record the start of the load, in Unix seconds."""
        self._writer.writerow((_STARTED, f"{at:.3f}"))

    def write(self, answer: Answer) -> None:
        """Add one line."""
        self._writer.writerow(
            (f"{answer.sent_at:.3f}", f"{answer.took_ms:.2f}", answer.status, answer.outcome,
             answer.picture)
        )  # fmt: skip

    def count_users(self, at: float, users: int) -> None:
        """Record the number of users since a moment."""
        self._writer.writerow((_USERS, f"{at:.3f}", users))

    def end(self, cpu_s: float) -> None:
        """Record the CPU seconds that the load took to generate."""
        self._writer.writerow((_CPU, f"{cpu_s:.3f}"))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AnswerReader:
    """Reads a log that may still be growing."""

    def __init__(self, path: Path) -> None:
        """Take the path; the file need not exist yet."""
        self._path = path
        self._file: IO[str] | None = None
        self._part = ""
        self.started_at: float | None = None
        """The start of the load; None until it is recorded."""
        self.users: list[tuple[float, int]] = []
        """The number of users, each since a Unix second."""
        self.cpu_s: float | None = None
        """CPU seconds of the load generator; None until the load has ended."""

    def new(self) -> list[Answer]:
        """Return the outcomes whose lines were completed since the last call."""
        if self._file is None:
            if not self._path.exists():
                return []
            self._file = self._path.open(encoding="utf-8")
        text = self._part + self._file.read()
        lines = text.split("\n")
        self._part = lines.pop()
        return list(self._parse(lines))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _parse(self, lines: list[str]) -> Iterator[Answer]:
        for row in csv.reader(lines):
            if tuple(row) == _COLUMNS:
                continue
            if row[0] == _STARTED:
                self.started_at = float(row[1])
                continue
            if row[0] == _USERS:
                self.users.append((float(row[1]), int(row[2])))
                continue
            if row[0] == _CPU:
                self.cpu_s = float(row[1])
                continue
            sent_at, took_ms, status, outcome, picture = row
            (known,) = (one for one in OUTCOMES if one == outcome)
            yield Answer(float(sent_at), float(took_ms), int(status), known, picture)
