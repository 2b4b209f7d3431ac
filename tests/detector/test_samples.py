"""Folders of pictures with Darknet's label files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.boxes import InputFormat
from elastic_yolo.detector.errors import DetectorError, SampleError
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.placement import FILL
from elastic_yolo.detector.samples import (
    SampleFolder,
    SampleList,
    find_labels,
    list_pictures,
    read_labels,
    read_sample,
)
from elastic_yolo.names import RESIZES
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model

LETTERBOX = InputFormat((64, 64), "letterbox")


def refuse(path: Path, error: DetectorError) -> None:
    raise AssertionError(f"{path}: {error}")


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a model of two classes, whose input is 64x64."""
    folder = tmp_path_factory.mktemp("model")
    return read_model(write_tiny_model(folder, width=64, height=64))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder with three pictures of 200x100, the first two with labels."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encode(plain(200, 100)))
    (tmp_path / "0.txt").write_text("1 0.5 0.5 0.1 0.2\n")
    (tmp_path / "1.txt").write_text("\n")
    return tmp_path


def test_labels_become_corners_in_network_pixels(pictures: Path) -> None:
    """200x100 is letterboxed to 64x32 at row 16: a centred box of 20x20 becomes 6.4x6.4."""
    sample = read_sample(pictures / "0.png", LETTERBOX, 2)

    assert sample.image.shape == (64, 64, 3)
    assert sample.truth is not None
    assert np.allclose(sample.truth, [[28.8, 28.8, 35.2, 35.2, 1]])


def test_a_model_that_stretches_gets_stretched_samples(pictures: Path, model: Model) -> None:
    """200x100 fills 64x64: a centred box of 20x20 becomes 6.4x12.8, and no pixel is grey."""
    (pictures / "2.png").unlink()
    (letterboxed, stretched) = (
        SampleFolder(pictures, replace(model, resize=resize), refuse) for resize in RESIZES
    )

    assert letterboxed.truth is not None
    assert stretched.truth is not None
    assert np.allclose(letterboxed.truth[0], [[28.8, 28.8, 35.2, 35.2, 1]])
    assert np.allclose(stretched.truth[0], [[28.8, 25.6, 35.2, 38.4, 1]])
    assert (next(iter(letterboxed))[0] == FILL).all()
    assert not (next(iter(stretched)) == FILL).any()


def test_an_empty_label_file_means_no_objects(pictures: Path) -> None:
    truth = read_sample(pictures / "1.png", LETTERBOX, 2).truth

    assert truth is not None
    assert truth.shape == (0, 5)
    assert read_sample(pictures / "2.png", LETTERBOX, 2).truth is None


def test_labels_are_beside_pictures_or_in_the_labels_folder(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    (labels / "a.txt").touch()
    (labels / "b.txt").touch()
    (images / "b.txt").touch()

    assert find_labels(images / "a.jpg") == labels / "a.txt"
    assert find_labels(images / "b.jpg") == images / "b.txt"
    assert find_labels(tmp_path / "elsewhere" / "a.jpg") is None


@pytest.mark.parametrize(
    "line",
    [
        "2 0.5 0.5 0.1 0.1",
        "-1 0.5 0.5 0.1 0.1",
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 nan 0.1",
        "cat 1 1 1 1",
    ],
)
def test_a_wrong_label_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")

    with pytest.raises(SampleError, match=r"a\.txt:2: expected a class below 2"):
        read_labels(path, 2)


def test_a_byte_order_mark_is_not_part_of_the_first_label(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf1 0.5 0.5 0.25 0.25\n")

    assert read_labels(tmp_path / "a.txt", 2).tolist() == [[0.5, 0.5, 0.25, 0.25, 1]]


def test_a_binary_label_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SampleError, match="not a text file"):
        read_labels(tmp_path / "a.txt", 2)


def test_a_folder_has_a_truth_only_if_all_pictures_are_labelled(
    pictures: Path, model: Model
) -> None:
    folder = SampleFolder(pictures, model, refuse)
    assert (folder.truth, folder.unlabelled) == (None, 1)

    (pictures / "2.png").unlink()
    folder = SampleFolder(pictures, model, refuse)
    assert folder.unlabelled == 0
    assert folder.truth is not None
    assert [len(boxes) for boxes in folder.truth] == [1, 0]


def test_unusable_pictures_are_reported_and_skipped(pictures: Path, model: Model) -> None:
    """An HTML error page, a folder, a dangling link, and a FIFO without a writer."""
    (pictures / "bad.jpg").write_text("<html></html>")
    (pictures / "folder.jpg").mkdir()
    (pictures / "link.jpg").symlink_to(pictures / "absent")
    os.mkfifo(pictures / "pipe.jpg")
    told: list[str] = []

    folder = SampleFolder(pictures, model, lambda path, _error: told.append(path.name))

    assert told == ["bad.jpg", "folder.jpg", "link.jpg", "pipe.jpg"]
    assert len(folder) == len(list(folder)) == 3


def test_some_pictures_are_spread_over_the_folder(tmp_path: Path, model: Model) -> None:
    for level in range(9):
        (tmp_path / f"{level}.png").write_bytes(encode(np.full((64, 64, 3), 10 * level, np.uint8)))

    folder = SampleFolder(tmp_path, model, refuse)

    assert [int(image[0, 0, 0]) for image in folder.sample_evenly(3)] == [0, 40, 80]
    assert len(list(folder.sample_evenly(100))) == 9


def test_a_limited_folder_reads_pictures_that_are_spread_over_it(
    tmp_path: Path, model: Model
) -> None:
    for level in range(9):
        (tmp_path / f"{level}.png").write_bytes(encode(np.full((64, 64, 3), 10 * level, np.uint8)))

    folder = SampleFolder(tmp_path, model, refuse, most=5)

    assert [int(image[0, 0, 0]) for image in folder] == [0, 20, 40, 60, 80]


def test_a_list_of_pictures_has_no_truth_and_is_spread_like_a_folder() -> None:
    images = [np.full((2, 2, 3), level, np.uint8) for level in range(9)]
    samples = SampleList(images)

    assert (len(samples), samples.truth) == (9, None)
    assert [int(image[0, 0, 0]) for image in samples] == list(range(9))
    assert [int(image[0, 0, 0]) for image in samples.sample_evenly(3)] == [0, 4, 8]


def test_a_folder_without_usable_pictures_is_refused(tmp_path: Path, model: Model) -> None:
    with pytest.raises(SampleError, match="no pictures: expected"):
        list_pictures(tmp_path)
    (tmp_path / "bad.jpg").write_text("<html></html>")
    with pytest.raises(SampleError, match="no usable pictures in"):
        SampleFolder(tmp_path, model, lambda _path, _error: None)
