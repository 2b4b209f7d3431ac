"""Service level objectives of a run, and whether they are met.

`p95=800ms,errors=0.1%,rejected=2%,rate=20/s` means: 95 % of the served pictures take at most
800 ms, at most 0.1 % of all pictures fail, at most 2 % are rejected with 429, and at least 20
pictures per second are served.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from loadtest.figures import PERCENTILES, Summary

LATENCIES = tuple(PERCENTILES)
SHARES = ("errors", "rejected")
_NUMBER = r"(\d+(?:\.\d+)?)"
_FORMS = {
    **dict.fromkeys(LATENCIES, (re.compile(rf"{_NUMBER}(ms|s)"), "a time such as 800ms or 1.5s")),
    **dict.fromkeys(SHARES, (re.compile(rf"{_NUMBER}(%)"), "a share such as 0.1%")),
    "rate": (re.compile(rf"{_NUMBER}(/s)"), "pictures per second such as 20/s"),
}
Unit = Literal["ms", "%", "/s"]


class SloError(ValueError):
    """An invalid objective; the message names it and the expected form."""


@dataclass(frozen=True)
class Objective:
    """One objective; `limit` is in ms, per cent or pictures per second."""

    name: str
    limit: float
    unit: Unit

    def __str__(self) -> str:
        """Return it in words."""
        relation = "at least" if self.name == "rate" else "at most"
        return f"{self.name} {relation} {show(self.limit, self.unit)}"


@dataclass(frozen=True)
class Verdict:
    """An objective and the measured value; None if no picture was served."""

    objective: Objective
    measured: float | None
    met: bool

    def __str__(self) -> str:
        """Return a line for the terminal."""
        measured = "no picture was served"
        if self.measured is not None:
            measured = f"measured {show(self.measured, self.objective.unit)}"
        return f"{'met' if self.met else 'NOT MET'}: {self.objective}, {measured}"


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Parse objectives separated by commas; raises SloError."""
    objectives: dict[str, Objective] = {}
    for part in text.split(","):
        objective = _parse_one(part)
        if objective.name in objectives:
            raise SloError(f"{objective.name} is given twice")
        objectives[objective.name] = objective
    return tuple(objectives.values())


def _parse_one(part: str) -> Objective:
    name, equals, value = part.partition("=")
    if name not in _FORMS or not equals:
        expected = ", ".join(_FORMS)
        raise SloError(f"{part!r}: expected NAME=LIMIT with a NAME of {expected}")
    form, example = _FORMS[name]
    match = form.fullmatch(value)
    if not match:
        raise SloError(f"{part!r}: {name} takes {example}")
    limit = float(match[1])
    if name in SHARES:
        if limit > 100:
            raise SloError(f"{part!r}: a share is at most 100%")
        return Objective(name, limit, "%")
    if limit == 0 or not math.isfinite(limit):
        raise SloError(f"{part!r}: {name} takes {example}, above 0")
    if name == "rate":
        return Objective(name, limit, "/s")
    return Objective(name, limit * 1000 if match[2] == "s" else limit, "ms")


def judge(objectives: tuple[Objective, ...], summary: Summary) -> tuple[Verdict, ...]:
    """Compare every objective with the measured value."""
    return tuple(_judge_one(objective, summary) for objective in objectives)


def _judge_one(objective: Objective, summary: Summary) -> Verdict:
    measured: float | None
    match objective.name:
        case "errors":
            measured = summary.failed_percent
        case "rejected":
            measured = summary.rejected_percent
        case "rate":
            measured = summary.served_per_s
        case name:
            measured = summary.latency_ms.get(name)
    if measured is None:
        return Verdict(objective, None, met=False)
    if objective.name == "rate":
        return Verdict(objective, measured, met=measured >= objective.limit)
    return Verdict(objective, measured, met=measured <= objective.limit)


def show(value: float, unit: Unit) -> str:
    """Return a figure with its unit."""
    space = "" if unit == "/s" else " "
    digits = {"ms": 0, "%": 2, "/s": 1}[unit]
    shown = f"{value:.{digits}f}"
    # A limit of 0.001 % is not 0.00 %.
    return f"{shown if float(shown) or not value else f'{value:g}'}{space}{unit}"
