"""What a run is to do, and where it leaves what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtest.slo import Objective


@dataclass(frozen=True)
class Plan:
    """A run as it was asked for."""

    shape: str
    target: str
    users: int
    duration_s: float
    folder: Path
    objectives: tuple[Objective, ...]
    command: str
    """What was typed, for the report."""

    @property
    def answers(self) -> Path:
        """One line for each picture."""
        return self.folder / "answers.csv"

    @property
    def log(self) -> Path:
        """What locust said."""
        return self.folder / "locust.log"

    @property
    def timeline(self) -> Path:
        """The samples of the tiers that the report shows."""
        return self.folder / "timeline.jsonl"

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """The figures for programs."""
        return self.folder / "summary.json"

    def image(self, name: str) -> Path:
        """Return where the PNG of a chart goes."""
        return self.folder / f"{name}.png"
