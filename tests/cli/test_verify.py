"""`elastic-yolo verify`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model, write_weights


def test_verify_passes_a_good_folder(tmp_path: Path) -> None:
    manifest = (
        "golden:\n  picture: golden.png\n  expected:\n    - [square, 0.935, [16, 16, 16, 8]]\n"
    )
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))

    status, out, err = run("verify", model)

    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [(line[0], line[1]) for line in lines[:4]] == [
        ("files", "ok"),
        ("digest", "ok"),
        ("engine", "ok"),
        ("golden", "ok"),
    ]
    assert lines[4][0] == "darknet"
    assert "FAILED" not in out


def test_verify_fails_if_weights_are_truncated(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [0.0] * 20)

    status, out, _ = run("verify", tiny_model, "--json")

    assert status == 1
    (check,) = json.loads(out)
    assert check["passed"] is False
    assert "8 floats are missing" in check["detail"]


def test_verify_fails_if_weights_are_not_finite(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [float("nan")] * 28)

    status, out, _ = run("verify", tiny_model, "--json")

    assert status == 1
    (check,) = json.loads(out)
    assert (check["name"], check["passed"]) == ("files", False)
    assert "layer 0 [convolutional]" in check["detail"]


def test_verify_fails_if_the_golden_picture_differs(tmp_path: Path) -> None:
    manifest = (
        "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.935, [16, 16, 16, 8]]\n"
    )
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))

    status, out, _ = run("verify", model)

    assert status == 1
    assert "FAILED       no circle with score 0.935 at" in out


def test_verify_measures_labelled_pictures(tiny_model: Path, picture: Path) -> None:
    """The model detects the square and not the circle: one of two classes."""
    status, out, _ = run("verify", tiny_model, "--pictures", picture.parent)
    assert status == 0
    assert "accuracy   not checked  1 of 1 pictures have no label file" in out

    picture.with_suffix(".txt").touch()
    status, out, _ = run("verify", tiny_model, "--pictures", picture.parent)
    assert status == 0
    assert "accuracy   not checked  no objects in any of the 1 pictures" in out

    picture.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.25\n1 0.1 0.1 0.2 0.2\n")
    status, out, _ = run("verify", tiny_model, "--pictures", picture.parent)
    assert status == 0
    assert "accuracy   ok           mAP@0.5 is 0.5000 on 1 pictures, in fp32" in out


def test_verify_goes_on_if_golden_and_pictures_are_unusable(tmp_path: Path) -> None:
    manifest = (
        "golden:\n  picture: golden.png\n  expected:\n    - [square, 0.935, [16, 16, 16, 8]]\n"
    )
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_text("<html></html>")
    pictures = tmp_path / "pictures"
    pictures.mkdir()

    status, out, err = run("verify", model, "--json", "--pictures", pictures)

    assert (status, err) == (1, "")
    checks = json.loads(out)
    assert [check["name"] for check in checks if check["passed"] is False] == ["golden", "accuracy"]
    assert {"files", "digest", "engine"} <= {check["name"] for check in checks if check["passed"]}
    details = {check["name"]: check["detail"] for check in checks}
    assert details["golden"].startswith(f"{model / 'golden.png'}: not an accepted picture format")
    assert details["accuracy"].startswith(f"{pictures}: no pictures: expected ")


def test_verify_names_skipped_pictures(tiny_model: Path, picture: Path) -> None:
    picture.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.25\n")
    (picture.parent / "page.jpg").write_text("<html></html>")

    status, out, err = run("verify", tiny_model, "--pictures", picture.parent)

    assert status == 0
    assert "skipped: page.jpg: not an accepted picture format" in err
    assert "mAP@0.5 is 1.0000 on 1 pictures, in fp32" in out
