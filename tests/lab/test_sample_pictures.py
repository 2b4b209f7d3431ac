"""Sample pictures for a model, by its labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.detector.samples import list_pictures
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from elastic_yolo.lab.sample_pictures import (
    find_calibration,
    find_samples,
    first_picture,
    read_labels,
)

COCO = ROOT / "elastic_yolo" / "provision" / "zoo" / "entries" / "coco.names"
PHOTOS, SCENES = ROOT / "client" / "photos", ROOT / "client" / "images"


@pytest.mark.parametrize(
    ("labels", "pictures"),
    [
        (COCO.read_text().splitlines(), PHOTOS),
        (["person", "dog", "car", "bicycle", "bird", "cow", "horse", "aeroplane"], PHOTOS),
        (read_labels(DEMO_MODEL), SCENES),
        (["helmet", "vest", "person"], None),
        ([], None),
    ],
    ids=["coco", "most of voc", "embedded model", "another trade", "none"],
)
def test_a_model_gets_the_pictures_whose_labels_it_knows(
    labels: list[str], pictures: Path | None
) -> None:
    assert find_samples(labels) == pictures


@pytest.mark.parametrize(
    ("labels", "samples"),
    [(COCO.read_text().splitlines(), PHOTOS), (read_labels(DEMO_MODEL), SCENES)],
    ids=["coco", "embedded model"],
)
def test_calibration_takes_fifty_other_pictures_than_the_samples(
    labels: list[str], samples: Path
) -> None:
    calibration = find_calibration(labels)

    assert calibration == samples / "calibration"
    apart, shown = (
        {path.read_bytes() for path in list_pictures(one)} for one in (calibration, samples)
    )
    assert len(apart) == 50
    assert shown
    assert not apart & shown


def test_a_model_of_another_trade_has_no_calibration() -> None:
    assert find_calibration(["helmet", "vest", "person"]) is None


def test_the_first_picture_is_the_dog_or_the_first_scene() -> None:
    assert first_picture(PHOTOS).name == "dog.jpg"
    assert first_picture(SCENES).name == "scene-01.jpg"


def test_labels_of_an_unusable_folder_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.names").write_text("cat\n")
    assert read_labels(tmp_path) == ["cat", ""]

    (tmp_path / "b.names").write_text("dog\n")

    assert read_labels(tmp_path) == []
    assert read_labels(tmp_path / "absent") == []
