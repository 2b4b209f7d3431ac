"""A finding of the doctor, and its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
"""error: rejected, or does not work. warning: works until something happens."""


@dataclass(frozen=True)
class Place:
    """An object and a line of a file. `line` counts from 1; 0 means unknown."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """Return kind/name, and file:line if known."""
        file = f"{self.file}:{self.line}" if self.file and self.line else self.file
        thing = f"{self.kind}/{self.name}" if self.name else self.kind
        return f"{thing} ({file})" if thing and file else thing or file


@dataclass(frozen=True)
class Finding:
    """One mistake: what is wrong, where, why it matters, and how to fix it."""

    severity: Severity
    place: Place
    what: str
    why: str
    fix: str
    code: str = ""


def error(place: Place, what: str, why: str, fix: str) -> Finding:
    """Return an error; diagnose() adds the code of the rule."""
    return Finding("error", place, what, why, fix)


def warning(place: Place, what: str, why: str, fix: str) -> Finding:
    """Return a warning; diagnose() adds the code of the rule."""
    return Finding("warning", place, what, why, fix)
