"""The parameters of a run, and the paths of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadtest.slo import Objective


@dataclass(frozen=True)
class Plan:
    """The parameters of a run."""

    shape: str
    target: str
    users: int
    duration_s: float
    folder: Path
    pictures: Path
    """Folder of the pictures to send."""
    wait_s: float
    """How long the service may take to answer a first picture."""
    objectives: tuple[Objective, ...]
    command: str
    """The command line, for the report."""

    @property
    def answers(self) -> Path:
        """One line per picture."""
        return self.folder / "answers.csv"

    @property
    def log(self) -> Path:
        """Locust's output."""
        return self.folder / "locust.log"

    @property
    def timeline(self) -> Path:
        """The samples of the tiers in the report."""
        return self.folder / "timeline.jsonl"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    @property
    def summary(self) -> Path:
        """The figures as JSON."""
        return self.folder / "summary.json"

    def image(self, name: str) -> Path:
        """Return the path of a chart's PNG."""
        return self.folder / f"{name}.png"
