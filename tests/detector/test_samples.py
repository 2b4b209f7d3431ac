"""Folders of pictures with Darknet's label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.errors import SampleError
from detector.samples import SampleFolder, find_labels, list_pictures, read_labels, read_sample
from picture.errors import PictureError
from tests.pictures import encode, plain

SIZE = (64, 64)


def refuse(path: Path, error: PictureError) -> None:
    raise AssertionError(f"{path}: {error}")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures of 200x100, the first two with labels."""
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encode(plain(200, 100)))
    (tmp_path / "0.txt").write_text("1 0.5 0.5 0.1 0.2\n")
    (tmp_path / "1.txt").write_text("\n")
    return tmp_path


def test_labels_become_corners_in_pixels_of_the_network(pictures: Path) -> None:
    """200x100 lies in 64x64 at 32 rows from row 16: a box of 20x20 in the centre is 6.4x6.4."""
    sample = read_sample(pictures / "0.png", SIZE, 2)

    assert sample.image.shape == (64, 64, 3)
    assert sample.truth is not None
    assert np.allclose(sample.truth, [[28.8, 28.8, 35.2, 35.2, 1]])


def test_an_empty_label_file_says_that_nothing_is_there(pictures: Path) -> None:
    truth = read_sample(pictures / "1.png", SIZE, 2).truth

    assert truth is not None
    assert truth.shape == (0, 5)
    assert read_sample(pictures / "2.png", SIZE, 2).truth is None


def test_labels_lie_beside_pictures_or_in_the_folder_labels_beside_images(tmp_path: Path) -> None:
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


def test_a_label_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(SampleError, match="cannot be read as a label file"):
        read_labels(tmp_path / "a.txt", 2)


def test_a_folder_knows_whether_all_its_pictures_are_labelled(pictures: Path) -> None:
    assert not SampleFolder(pictures, SIZE, 2, refuse).labelled
    (pictures / "2.png").unlink()
    assert SampleFolder(pictures, SIZE, 2, refuse).labelled


def test_pictures_that_do_not_decode_are_told_and_left_out(pictures: Path) -> None:
    (pictures / "bad.jpg").write_text("<html></html>")
    told: list[str] = []

    folder = SampleFolder(pictures, SIZE, 2, lambda path, _error: told.append(path.name))

    assert told == ["bad.jpg"]
    assert len(folder) == len(list(folder)) == 3


def test_some_pictures_are_spread_over_the_folder(tmp_path: Path) -> None:
    for level in range(9):
        (tmp_path / f"{level}.png").write_bytes(encode(np.full((8, 8, 3), 10 * level, np.uint8)))

    folder = SampleFolder(tmp_path, (8, 8), 2, refuse)

    assert [int(image[0, 0, 0]) for image in folder.some(3)] == [0, 40, 80]
    assert len(list(folder.some(100))) == 9


def test_a_folder_without_usable_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="no pictures: expected"):
        list_pictures(tmp_path)
    (tmp_path / "bad.jpg").write_text("<html></html>")
    with pytest.raises(SampleError, match="no usable pictures in"):
        SampleFolder(tmp_path, SIZE, 2, lambda _path, _error: None)
