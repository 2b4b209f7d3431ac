"""Darknet's .data files: how they are read, and the labels' file that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.detector.darknet.data_file import parse_data_file, read_data_file
from elastic_yolo.detector.errors import ModelError
from elastic_yolo.detector.model import read_model

# As pjreddie's Darknet has it.
COCO = """classes= 80
train  = /home/pjreddie/data/coco/trainvalno5k.txt
valid  = coco_testdev
#valid = data/coco_val_5k.list
names = data/coco.names
backup = /home/pjreddie/backup/
eval=coco
"""


def test_the_published_coco_data_is_read() -> None:
    found = parse_data_file(COCO)

    assert (found.classes, found.names) == (80, "coco.names")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("names=coco.names", "coco.names"),
        ("names = /home/me/data/obj.names", "obj.names"),
        ("names = ../../data/obj.names", "obj.names"),
        (r"names = C:\darknet\x64\data\obj.names", "obj.names"),
        ("names = first.names\nnames = second.names", "first.names"),
        ("\ufeff\n\n  ; comment\n\t# names = not.this\r\nnames\t=\tmy . names\r\n", "my.names"),
        ("classes = 2", None),
        ("", None),
    ],
)
def test_names_is_read_as_darknet_does(tmp_path: Path, text: str, names: str | None) -> None:
    """White space is dropped everywhere; the first of two options counts."""
    path = tmp_path / "model.data"
    path.write_bytes(text.encode())

    assert read_data_file(path).names == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes = 2\nnames", r"x\.data:2: expected key = value, found: names"),
        ("classes = many", r"x\.data:1: classes = many: expected a number from 1 to 999999"),
        ("classes = 0", "expected a number from 1"),
        ("classes = 99999999999999999999", "expected a number from 1"),
        ("names = data/", r"names = data/: expected the path of a file"),
        ("names = ..", r"names = \.\.: expected the path of a file"),
        (r"names = a\..", "expected the path of a file"),
        ("names = /run/secrets/.token", "expected the path of a file"),
    ],
)
def test_an_invalid_data_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_data_file(text, Path("x.data"))


def test_a_comment_after_the_number_of_classes_is_ignored() -> None:
    assert parse_data_file("classes = 80 # of COCO").classes == 80


def write(folder: Path, text: str) -> Path:
    """Turn the names file of a model folder into labels.txt and add a .data file."""
    (folder / "tiny.names").rename(folder / "labels.txt")
    (folder / "tiny.data").write_text(text)
    return folder


def test_a_folder_may_have_a_data_file_in_place_of_names(tiny_model: Path) -> None:
    """The model and its digest are those of the folder with a .names file."""
    before = read_model(tiny_model)

    after = read_model(write(tiny_model, "classes = 2\nnames = /data/sets/labels.txt\n"))

    assert after.labels == ("square", "circle")
    assert after.digest == before.digest


def test_the_data_file_selects_one_of_several_names(tiny_model: Path) -> None:
    (tiny_model / "other.names").write_text("one\ntwo\n")
    (tiny_model / "tiny.data").write_text("names = data/other.names\n")

    assert read_model(tiny_model).labels == ("one", "two")


@pytest.mark.parametrize("text", ["names = data/absent.names\n", "classes = 2\n"])
def test_the_only_names_file_does_if_the_data_file_names_none(tiny_model: Path, text: str) -> None:
    (tiny_model / "tiny.data").write_text(text)

    assert read_model(tiny_model).labels == ("square", "circle")


def test_several_data_files_are_not_read(tiny_model: Path) -> None:
    for name in ("coco.data", "voc.data"):
        (tiny_model / name).write_text("nothing\n")

    assert read_model(tiny_model).labels == ("square", "circle")


def test_classes_must_be_those_of_the_cfg(tiny_model: Path) -> None:
    write(tiny_model, "classes = 80\nnames = labels.txt\n")

    with pytest.raises(ModelError, match=r"tiny\.data: classes=80, but tiny\.cfg has classes=2"):
        read_model(tiny_model)


def test_a_path_cannot_name_a_file_outside_the_folder(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("square\ncircle\n")
    write(tiny_model, f"names = {tmp_path / 'secret'}\n")

    with pytest.raises(ModelError, match=r"tiny\.data: names = secret: expected this file, or one"):
        read_model(tiny_model)


@pytest.mark.parametrize(
    ("line", "file", "names"),
    [
        ("names = data/my obj.txt", "my obj.txt", "myobj.txt"),
        ("names=obj.txt # x", "obj.txt", "obj.txt#x"),
        ("names=obj.txt;x", "obj.txt", "obj.txt;x"),
        ("names = data/my obj.txt  ; from http://a/b.txt", "my obj.txt", "b.txt"),
    ],
)
@pytest.mark.parametrize("others", [(), ("a.names", "b.names")])
def test_a_file_that_is_named_with_blanks_or_a_comment_is_refused_with_the_reason(
    tiny_model: Path, line: str, file: str, names: str, others: tuple[str, ...]
) -> None:
    write(tiny_model, f"classes = 2\n{line}\n")
    (tiny_model / "labels.txt").rename(tiny_model / file)
    for other in others:
        (tiny_model / other).touch()

    with pytest.raises(ModelError) as raised:
        read_model(tiny_model)

    assert str(raised.value) == (
        f"{tiny_model / 'tiny.data'}: names = {file}: Darknet's reader drops blanks and knows no "
        f"comment behind a value, so this names {names}: rename the file, or write the name alone"
    )


def test_a_data_file_without_names_is_refused_alone(tiny_model: Path) -> None:
    write(tiny_model, "classes = 2\n")

    with pytest.raises(ModelError, match=r"tiny\.data: no names =, and the folder has no \.names"):
        read_model(tiny_model)
