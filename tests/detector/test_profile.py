"""Profiles of pictures and detections, and the distance between two profiles."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.model import read_model
from elastic_yolo.detector.profile import EDGES, FILE, Profile, psi, read_reference
from tests.support.tiny import write_tiny_model

COUNTS = st.lists(st.integers(0, 10_000), min_size=6, max_size=6).map(np.array)


def rows(*boxes: tuple[float, ...]) -> Floats:
    return np.array(boxes, np.float32).reshape(-1, 6)


def test_a_picture_counts_in_one_bin_of_each_feature() -> None:
    """Two boxes in a picture of 100x50: 20x9 with score 0.95, and 100x50 with score 0.5."""
    profile = Profile(classes=3)
    image = np.full((1, 50, 100, 3), 60, np.uint8)

    profile.add(image, [rows((0, 0, 20, 9, 0.95, 2), (0, 0, 100, 50, 0.5, 0))])

    assert profile.pictures == 1
    assert profile.counts["class"].tolist() == [1, 0, 1]
    assert profile.counts["score"].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert profile.counts["boxes"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    # The root of 180/5000 is 0.19.
    assert profile.counts["size"].tolist() == [0, 0, 0, 1, 0, 0, 0, 1]
    assert profile.counts["brightness"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_a_batch_counts_like_its_pictures() -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found = [rows((0, 0, 9, 9, 0.7, 1)), rows(), rows((1, 1, 3, 5, 0.2, 0), (0, 0, 9, 9, 0.9, 1))]
    batch, single = Profile(2), Profile(2)

    batch.add(images, found)
    for image, one in zip(images, found, strict=True):
        single.add(image[np.newaxis], [one])

    assert batch.to_json() == single.to_json()
    assert batch.counts["boxes"].tolist()[:3] == [1, 1, 1]


def test_the_index_of_a_shift_follows_the_formula() -> None:
    """Half of a bin moves to another: (0.25 - 0.5) ln(0.25/0.5) + (0.75 - 0.5) ln 1.5."""
    by_hand = -0.25 * math.log(0.5) + 0.25 * math.log(1.5)

    assert psi(np.array([500_000, 500_000]), np.array([250_000, 750_000])) == pytest.approx(
        by_hand, abs=1e-5
    )


def drawn(random: np.random.Generator, pictures: int, objects: float) -> Profile:
    """Return random detections of eighty classes, a few frequent and most rare."""
    profile = Profile(classes=80)
    share = 1 / np.arange(1, 81)
    many = random.poisson(objects, pictures)
    classes = random.choice(80, many.sum(), p=share / share.sum())
    profile.pictures = pictures
    profile.counts = {
        "class": np.bincount(classes, minlength=80),
        "score": np.bincount(random.binomial(9, 0.7, many.sum()), minlength=10),
        "boxes": np.bincount(many.clip(0, 7), minlength=8),
        "size": np.bincount(random.binomial(7, 0.3, many.sum()), minlength=8),
        "brightness": np.bincount(random.binomial(9, 0.5, pictures), minlength=10),
    }
    return profile


@pytest.mark.parametrize("objects", [0.1, 0.3, 1, 5])
@pytest.mark.parametrize("pictures", [200, 1000])
def test_random_variation_is_not_drift(objects: float, pictures: int) -> None:
    random = np.random.default_rng(7)
    for _ in range(50):
        distances = drawn(random, pictures, objects).distances(drawn(random, 1000, objects))
        assert max(distances.values(), default=0) < 0.25


def test_a_feature_with_few_values_has_no_distance() -> None:
    """Twenty objects in a thousand pictures: enough pictures, too few objects."""
    random = np.random.default_rng(7)
    here, there = drawn(random, 1000, 0.02), drawn(random, 1000, 0.02)

    assert set(here.distances(there)) == {"boxes", "brightness"}


def test_a_rare_class_that_becomes_frequent_is_drift() -> None:
    random = np.random.default_rng(7)
    there, here = drawn(random, 1000, 1), drawn(random, 1000, 1)
    here.counts["class"][70] += 500

    assert here.distances(there)["class"] > 0.25


@given(COUNTS, COUNTS)
def test_the_index_is_a_distance_whatever_the_counts(one: np.ndarray, other: np.ndarray) -> None:
    assert psi(one, one) == pytest.approx(0)
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert 0 <= psi(one, other) < math.inf


def test_a_reference_profile_survives_a_round_trip(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "model")
    profile = Profile(classes=2)
    profile.add(np.zeros((2, 32, 32, 3), np.uint8), [rows((8, 12, 24, 20, 0.9, 0)), rows()])
    (folder / FILE).write_bytes(profile.to_json())

    reference = read_reference(read_model(folder))

    assert reference is not None
    assert reference.to_json() == profile.to_json()


def test_a_model_needs_no_reference(tiny_model: Path) -> None:
    assert read_reference(read_model(tiny_model)) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pictures": 0}, "greater than or equal to 1"),
        ({"counts": {}}, "these numbers of bins"),
        (
            {"counts": {**{name: [0] for name in EDGES}, "class": [1, 2]}},
            "these numbers of bins",
        ),
        ({"more": 1}, "not permitted"),
    ],
)
def test_an_invalid_reference_profile_is_refused(
    tiny_model: Path, change: object, why: str
) -> None:
    stated = json.loads(Profile(classes=2).to_json()) | {"pictures": 1} | change
    (tiny_model / FILE).write_text(json.dumps(stated))

    with pytest.raises(ModelError, match=why):
        read_reference(read_model(tiny_model))


def test_counts_below_zero_are_refused(tiny_model: Path) -> None:
    stated = json.loads(Profile(classes=2).to_json()) | {"pictures": 1}
    stated["counts"]["class"] = [-1, 2]
    (tiny_model / FILE).write_text(json.dumps(stated))

    with pytest.raises(ModelError, match="expected counts from 0"):
        read_reference(read_model(tiny_model))
