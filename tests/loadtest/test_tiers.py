"""Matching samples to the intervals of a run."""

from __future__ import annotations

from elastic_yolo.lab.timeline import Sample
from loadtest.figures import split
from loadtest.tiers import Decision, at_ends, decisions, tiers_of

START = 1000.0


def sample(second: float, tier: str, desired: int, why: str = "") -> Sample:
    return Sample(START + second, tier, 1, 1, desired, 70, why=why)


def test_tiers_are_ordered_and_unknown_ones_come_last() -> None:
    samples = [sample(0, tier, 1) for tier in ("inference", "zebra", "web", "preprocess")]

    assert tiers_of(samples) == ["web", "preprocess", "inference", "zebra"]


def test_an_interval_shows_the_newest_sample_at_its_end() -> None:
    intervals = split([], [], start_at=START, duration_s=5, per_user_s=1)
    early, late = sample(1.5, "web", 1), sample(4, "web", 2)

    shown = at_ends([early, late], intervals, START)

    assert shown == [None, early, early, late, late]


def test_a_decision_is_a_change_of_desired_replicas() -> None:
    samples = [
        sample(0, "web", 1),
        sample(0, "inference", 1),
        sample(15, "web", 1),
        sample(15, "inference", 3, "131 % > 70 %"),
        sample(30, "web", 2, "80 %"),
        sample(30, "inference", 3),
        sample(45, "inference", 1, "idle"),
    ]

    assert decisions(samples, START) == [
        Decision(15, "inference", 1, 3, "131 % > 70 %"),
        Decision(30, "web", 1, 2, "80 %"),
        Decision(45, "inference", 3, 1, "idle"),
    ]
