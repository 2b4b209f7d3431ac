"""Counts of verdicts by kind, and the first failures in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.soak.judgement import FAILURES, Verdict

_MOST_EXAMPLES = 20
FAULT_PREFIX = "fault: "
"""Begins the kinds that are faults and not requests."""


@dataclass
class Tally:
    """All counts of a run."""

    counts: dict[str, Counter[Verdict]] = field(default_factory=dict)
    """By kind of request or fault."""
    examples: list[str] = field(default_factory=list)
    """The first failures."""
    never_sent: int = 0
    """Requests that were due while too many others waited."""

    def add(self, kind: str, verdict: Verdict, why: str = "", where: str = "") -> None:
        """Count a verdict; `why` and `where` describe a failure."""
        self.counts.setdefault(kind, Counter())[verdict] += 1
        if verdict in FAILURES and len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(f"{kind} {where}: {verdict.value}: {why}")

    def total(self, *verdicts: Verdict) -> int:
        """Return how often the verdicts were reached; without one: all of them."""
        chosen = verdicts or tuple(Verdict)
        return sum(counts[one] for counts in self.counts.values() for one in chosen)

    @property
    def failures(self) -> int:
        """Wrong and unexpected answers, and lost ones."""
        return self.total(*FAILURES)
