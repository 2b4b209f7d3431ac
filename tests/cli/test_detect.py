"""`elastic-yolo detect`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.tiny import ANCHOR, SCORE


def test_detect_prints_boxes(tiny_model: Path, picture: Path) -> None:
    status, out, err = run("detect", "--model", tiny_model, picture)

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{picture}: 1 found",
        "  square           0.935     160.00    160.00    160.00     80.00",
    ]


def test_a_name_cannot_forge_a_line(tiny_model: Path, picture: Path, tmp_path: Path) -> None:
    path = tmp_path / "a\nb.png: 9 found\x1b[2J.png"
    path.write_bytes(picture.read_bytes())

    _, out, _ = run("detect", "--model", tiny_model, path)

    assert out.splitlines()[0] == rf"{tmp_path}/a\nb.png: 9 found\x1b[2J.png: 1 found"


def test_a_folder_stands_for_its_pictures(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("b.png", "a.png"):
        (folder / name).write_bytes(encode(plain(32, 32), "PNG"))
    (folder / "notes.md").write_text("none")

    status, out, _ = run("detect", "--model", tiny_model, "--json", folder)

    assert status == 0
    pictures = [json.loads(line)["picture"] for line in out.splitlines()]
    assert pictures == [str(folder / "a.png"), str(folder / "b.png")]


def test_detect_prints_one_json_object_per_picture(tiny_model: Path, picture: Path) -> None:
    status, out, _ = run("detect", "--model", tiny_model, "--json", picture, picture)

    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    expected = ["square", pytest.approx(SCORE, abs=1e-5), [160, 160, *(10 * n for n in ANCHOR)]]
    assert [answer["data"] for answer in answers] == [[expected], [expected]]


def test_detect_stretches_or_letterboxes_as_it_is_told(
    tiny_model: Path, wide_picture: Path
) -> None:
    """By the option, or else by model.yaml; 640x320 in 32x32."""
    (tiny_model / "model.yaml").write_text("resize: stretch\n")
    options = ([], ["--resize", "letterbox"], ["--resize", "stretch", "--exact"])

    outputs = [
        run("detect", "--model", tiny_model, *one, "--json", wide_picture) for one in options
    ]

    boxes = [json.loads(out)["data"][0][2] for _, out, _ in outputs]
    assert boxes == [[320, 160, 320, 80], [320, 160, 320, 160], [320, 160, 320, 80]]


def test_detect_writes_the_picture_with_boxes(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, _, _ = run("detect", "--model", tiny_model, "--save", tmp_path / "out", picture)

    assert status == 0
    assert (tmp_path / "out" / "plain.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_detect_never_overwrites_its_input(tiny_model: Path, tmp_path: Path) -> None:
    original = tmp_path / "x.jpg"
    original.write_bytes(encode(plain(64, 64), "JPEG"))
    before = original.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)

    for folder in (tmp_path, link):
        status, out, err = run("detect", "--model", tiny_model, "--save", folder, original)

        assert (status, out) == (2, "")
        assert f"the result for {original} would overwrite the picture {original}" in err
        assert original.read_bytes() == before


def test_detect_never_saves_two_results_under_one_name(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "plain.jpg"
    other.parent.mkdir()
    other.write_bytes(encode(plain(64, 64), "JPEG"))
    target = tmp_path / "out"

    status, _, err = run("detect", "--model", tiny_model, "--save", target, picture, other)

    assert status == 2
    assert f"{picture} and {other} would both be written to {target / 'plain.jpg'}" in err
    assert not target.exists()


def test_detect_saves_a_picture_that_is_passed_twice(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, _, err = run(
        "detect", "--model", tiny_model, "--save", tmp_path / "out", picture, picture
    )

    assert (status, err) == (0, "")


def test_a_bad_picture_is_one_line_and_the_rest_is_done(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html></html>")

    status, out, err = run("detect", "--model", tiny_model, bad, tmp_path / "absent.png", picture)

    assert status == 1
    assert f"{picture}: 1 found" in out
    not_a_picture, not_there = err.splitlines()
    assert not_a_picture.startswith(f"elastic-yolo: {bad}: not an accepted picture format")
    assert not_there.startswith(f"elastic-yolo: {tmp_path / 'absent.png'}: ")
    assert "No such file" in not_there
