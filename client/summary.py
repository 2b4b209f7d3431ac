"""The results of a run: what each picture got, and the figures of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from client.percentile import percentile

TIERS = ("web", "preprocess", "inference")


@dataclass
class Row:
    """What is known of one picture, which may have been sent several times."""

    picture: str
    sent: int = 1
    data: list[tuple[str, float, list[float]]] = field(default_factory=list)
    """The detections of the last response: label, score, box."""
    truth: tuple[int, int] | None = None
    """The objects of the ground truth that were found, and all of them."""
    took_ms: list[float] = field(default_factory=list)
    tiers_ms: dict[str, float] = field(default_factory=dict)
    """The last response's time in each tier."""
    fault: str = ""
    """Why the last one failed; empty if it did not."""


@dataclass
class Summary:
    """The results of a run."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """Counts by status code, or by the name of the error where no response came."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of the responses with status 200."""
    failures: int = 0
    objects: int = 0
    found: int = 0
    unmatched: int = 0
    """Detections that match no object of the ground truth."""
    rows: dict[str, Row] = field(default_factory=dict)
    """By path of the picture."""

    def add(self, path: str, row: Row) -> None:
        """Add what became of one picture that was sent."""
        self.failures += bool(row.fault)
        if before := self.rows.get(path):
            row.sent += before.sent
            before.took_ms += row.took_ms
            row.took_ms = before.took_ms
        self.rows[path] = row

    def lines(self) -> list[str]:
        """Return the lines at the end of a run."""
        total = sum(self.outcomes.values())
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.outcomes.items()))
        requests = "1 request" if total == 1 else f"{total} requests"
        lines = [f"{requests} ({codes or 'none'}), {self.failures} failed"]
        if self.latencies_ms:
            values = [f"p{p} {percentile(self.latencies_ms, p):.0f}" for p in (50, 95, 99)]
            lines.append(f"latency in ms: {', '.join(values)}, max {max(self.latencies_ms):.0f}")
        if self.objects:
            share = self.found / self.objects
            lines.append(
                f"ground truth: {self.found} of {self.objects} objects found ({share:.0%}), "
                f"right label and IoU at least 0.5; boxes of no object: {self.unmatched}"
            )
        return lines


def picture_rows(rows: list[Row], *, with_tiers: bool) -> list[list[str]]:
    """Return a table of pictures, its head first; columns that nothing is known for are left out.

    The first two columns are text, the others numbers.
    """
    often = any(row.sent > 1 for row in rows)
    judged = any(row.truth for row in rows)
    tiers = [tier for tier in TIERS if with_tiers and any(tier in row.tiers_ms for row in rows)]
    head = ["picture", "objects", *["sent"] * often, *["truth"] * judged, "ms", *tiers]
    return [head] + [
        [
            row.picture,
            row.fault or count_labels(row.data),
            *[str(row.sent)] * often,
            *([f"{row.truth[0]}/{row.truth[1]}" if row.truth else ""] * judged),
            f"{percentile(row.took_ms, 50):.0f}" if row.took_ms else "",
            *(f"{row.tiers_ms[tier]:.1f}" if tier in row.tiers_ms else "" for tier in tiers),
        ]
        for row in rows
    ]


def detection_rows(row: Row) -> list[list[str]]:
    """Return a table of one picture's detections, its head first; the first column is text."""
    head = ["object", "score", "centre x", "centre y", "width", "height"]
    return [head] + [
        [label, f"{score:.3f}", *(f"{number:.1f}" for number in box)]
        for label, score, box in row.data
    ]


def count_labels(data: list[tuple[str, float, list[float]]]) -> str:
    """Return `2 bird, cat`: the labels, best score first."""
    counts = Counter(label for label, _, _ in data)
    return ", ".join(label if n == 1 else f"{n} {label}" for label, n in counts.items()) or "none"


def as_data(answer: dict[str, Any]) -> list[tuple[str, float, list[float]]]:
    """Return the detections of a response that has no fault."""
    return [(label, float(score), list(map(float, box))) for label, score, box in answer["data"]]
