"""Count what became of the boxes in all pictures: by class, in total, and the differences."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from elastic_yolo.comparison.pairing import Kind, Pair, Tolerance
from elastic_yolo.detector.boxes import Detection


@dataclass(frozen=True)
class Difference:
    """A box that is lost, gained or moved in a picture."""

    picture: str
    kind: Kind
    pair: Pair

    @property
    def rank(self) -> tuple[bool, float]:
        """Order of severity: boxes of one side alone by their score, then moved ones by pixels."""
        alone = self.kind is not Kind.MOVED
        return alone, self.pair.best_score if alone else self.pair.px

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; detections are label, score, box, as in web's responses."""
        return {
            "picture": self.picture,
            "kind": str(self.kind),
            "theirs": _to_json(self.pair.theirs),
            "ours": _to_json(self.pair.ours),
            "px": round(self.pair.px, 2),
            "score": round(self.pair.score, 6),
        }


def _to_json(found: Detection | None) -> list[Any] | None:
    return None if found is None else [found.label, found.score, list(found.box)]


@dataclass
class Report:
    """The boxes of all pictures that were added."""

    tolerance: Tolerance
    pictures: int = 0
    classes: dict[str, Counter[Kind]] = field(default_factory=lambda: defaultdict(Counter))
    differences: list[Difference] = field(default_factory=list)
    largest_px: float = 0.0
    largest_score: float = 0.0

    def add(self, picture: str, pairs: list[Pair]) -> None:
        """Add the pairs of a picture."""
        self.pictures += 1
        for pair in pairs:
            kind = pair.kind(self.tolerance)
            self.classes[pair.label][kind] += 1
            self.largest_px = max(self.largest_px, pair.px)
            self.largest_score = max(self.largest_score, pair.score)
            if kind is not Kind.SAME:
                self.differences.append(Difference(picture, kind, pair))

    @property
    def totals(self) -> Counter[Kind]:
        """What became of all boxes."""
        return sum(self.classes.values(), Counter())

    def largest(self, most: int) -> list[Difference]:
        """Return the gravest differences first, at most `most`."""
        return sorted(self.differences, key=lambda one: one.rank, reverse=True)[:most]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with all counts and differences."""
        return {
            "pictures": self.pictures,
            "totals": describe(self.totals),
            "largest_px": round(self.largest_px, 2),
            "largest_score": round(self.largest_score, 6),
            "classes": {label: describe(self.classes[label]) for label in sorted(self.classes)},
            "differences": [one.to_json() for one in self.largest(len(self.differences))],
        }


def describe(counts: Counter[Kind]) -> dict[str, int]:
    """Return the numbers of boxes of both sides, and of each kind."""
    paired = counts[Kind.SAME] + counts[Kind.MOVED]
    return {
        "theirs": paired + counts[Kind.LOST],
        "ours": paired + counts[Kind.GAINED],
        **{str(kind): counts[kind] for kind in Kind},
    }
