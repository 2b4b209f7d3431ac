"""Profiles for drift detection: histograms of a model's input pictures and of its detections.

The distance between two histograms is the population stability index (N. Siddiqi, "Credit Risk
Scorecards", 2006), the sum of (p - q) ln(p / q). By its rule of thumb a value below 0.1 means no
change, and a value of 0.25 or more means drift.
"""

from __future__ import annotations

import json

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elastic_yolo.detector.boxes import CLASS, SCORE, Floats, Image
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.files import read_text
from elastic_yolo.detector.model import Model

FILE = "reference.json"
"""File of a model folder that holds the reference profile, recorded from typical pictures."""

Counts = NDArray[np.int64]

EDGES: dict[str, tuple[float, ...]] = {
    "score": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    "boxes": (0, 1, 2, 4, 8, 16, 32),
    "size": (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7),
    "brightness": (25, 50, 75, 100, 125, 150, 175, 200, 225),
}
"""Upper edge of each bin except the last.

`score` and `size` are of a box, where size is the square root of its share of the network's input
area; `boxes` (their number) and `brightness` (mean pixel value in the network's input) are of a
picture.
"""

_MOST_BYTES = 2**20
# Added to every bin, so that an empty bin does not make the distance infinite.
_PRIOR = 0.5
# With n values in b bins, chance alone makes an index of about (b - 1) / n (B. Yurdakul,
# "Statistical Properties of Population Stability Index", 2018): with this many values for each bin
# that stays below 0.1.
_ENOUGH = 20
# Rare classes share bins, so that each bin has at least this fraction of the reference's objects:
# eighty bins of one class each would never have enough objects.
_SHARE = 0.05
# Distance in pixels of the samples for the mean brightness.
_STEP = 8


class Profile:
    """Histograms over pictures: `class` has one bin for each label, the others those of EDGES."""

    def __init__(self, classes: int) -> None:
        """Create empty histograms."""
        self.pictures = 0
        self.counts: dict[str, Counts] = {
            "class": np.zeros(classes, np.int64),
            **{name: np.zeros(len(edges) + 1, np.int64) for name, edges in EDGES.items()},
        }

    def add(self, images: Image, found: list[Floats]) -> None:
        """Count n pictures, (n, height, width, 3), and the detections in each, (k, 6)."""
        _, height, width, _ = images.shape
        rows = np.concatenate(found)
        sides = (rows[:, 2:4] - rows[:, :2]).clip(0)
        values = {
            "score": rows[:, SCORE],
            "boxes": np.array([len(one) for one in found]),
            "size": np.sqrt(sides.prod(1) / (height * width)),
            "brightness": images[:, ::_STEP, ::_STEP].mean((1, 2, 3)),
        }
        self.pictures += len(found)
        classes = self.counts["class"]
        classes += np.bincount(rows[:, CLASS].astype(int), minlength=len(classes))
        for name, edges in EDGES.items():
            bins = np.searchsorted(edges, values[name], side="left")
            self.counts[name] += np.bincount(bins, minlength=len(edges) + 1)

    def merge(self, other: Profile) -> None:
        """Add the counts of another profile."""
        self.pictures += other.pictures
        for name, counts in other.counts.items():
            self.counts[name] += counts

    def distances(self, reference: Profile) -> dict[str, float]:
        """Return the population stability index of each feature that has enough values."""
        found = {}
        for name, here in self.counts.items():
            there = reference.counts[name]
            if name == "class":
                groups = _group(there)
                there, here = (np.bincount(groups, counts) for counts in (there, here))  # noqa: PLW2901
            if min(there.sum(), here.sum()) >= _ENOUGH * len(here):
                found[name] = psi(there, here)
        return found

    def to_json(self) -> bytes:
        """Return the content of a reference.json, which `read_reference` reads."""
        counts = {name: counts.tolist() for name, counts in self.counts.items()}
        return json.dumps({"pictures": self.pictures, "counts": counts}).encode() + b"\n"


def _group(reference: Counts) -> NDArray[np.int64]:
    """Return the bin of each class: consecutive classes share one until it is frequent enough.

    Grouping the rarest classes instead would bias that bin: any change of content makes some rare
    class more frequent.
    """
    groups, group, share = np.zeros(len(reference), np.int64), 0, 0.0
    for number, count in enumerate(reference):
        groups[number] = group
        share += count / max(1, reference.sum())
        if share >= _SHARE:
            group, share = group + 1, 0.0
    # The classes left at the end are too rare for a bin of their own and join the last one.
    return groups.clip(0, max(0, group - 1))


def psi(reference: NDArray[np.number], found: NDArray[np.number]) -> float:
    """Return the population stability index of two histograms with the same bins."""
    p, q = (
        (counts + _PRIOR) / (counts.sum() + _PRIOR * len(counts)) for counts in (found, reference)
    )
    return float(((p - q) * np.log(p / q)).sum())


class _StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: int = Field(ge=1)
    counts: dict[str, list[int]]


def read_reference(model: Model) -> Profile | None:
    """Return the reference profile of a model folder, or None if it has none; raises ModelError."""
    path = model.folder / FILE
    if not path.exists():
        return None
    profile = Profile(len(model.labels))
    try:
        stated = _StrictModel.model_validate_json(read_text(path, _MOST_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ModelError(f"{path}: {first['msg']}") from error
    bins = {name: len(counts) for name, counts in profile.counts.items()}
    if {name: len(counts) for name, counts in stated.counts.items()} != bins:
        raise ModelError(f"{path}: expected these numbers of bins: {bins}")
    if any(not 0 <= count < 2**53 for counts in stated.counts.values() for count in counts):
        raise ModelError(f"{path}: expected counts from 0 to 2^53")
    profile.pictures = stated.pictures
    profile.counts = {name: np.array(counts, np.int64) for name, counts in stated.counts.items()}
    return profile
