"""What the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
"""error: refused, or not what it is for. warning: goes well until something happens."""


@dataclass(frozen=True)
class Place:
    """Where something stands. `line` counts from 1; 0 means that it is not known."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """Return kind/name, and file:line as far as they are known."""
        file = f"{self.file}:{self.line}" if self.file and self.line else self.file
        thing = f"{self.kind}/{self.name}" if self.name else self.kind
        return f"{thing} ({file})" if thing and file else thing or file


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be: what, where, why it matters, what to do."""

    severity: Severity
    place: Place
    what: str
    why: str
    fix: str
    code: str = ""


def error(place: Place, what: str, why: str, fix: str) -> Finding:
    """Return a finding without its code, which the rule knows."""
    return Finding("error", place, what, why, fix)


def warning(place: Place, what: str, why: str, fix: str) -> Finding:
    """Return a finding of less weight, without its code."""
    return Finding("warning", place, what, why, fix)
