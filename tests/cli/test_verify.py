"""`elastic-yolo verify`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elastic_yolo.detector.engines.libdarknet import find_libdarknet
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


@pytest.mark.parametrize(
    ("section", "option"),
    [
        ("[net]", "batch=1\nsubdivisions=16"),
        ("[net]", "subdivisions = 0"),
        ("[net]", "batch=\N{FULLWIDTH DIGIT ONE}"),
        ("[net]", "policy=steps"),
        ("[yolo]", "ma p=none.map"),
    ],
)
def test_options_for_training_do_not_end_the_comparison_with_darknet(
    tiny_model: Path, section: str, option: str
) -> None:
    """The C library would end the process, with status 0 in the last case."""
    cfg = tiny_model / "tiny.cfg"
    text = cfg.read_text().replace("size=1\nstride=32", "size=3\nstride=1\npad=1")
    cfg.write_text(text.replace(section, f"{section}\n{option}"))
    write_weights(tiny_model / "tiny.weights", np.linspace(-1, 1, 7 + 7 * 27))

    status, out, _ = run("verify", tiny_model)

    assert status == 0
    compared = "raw heads in fp32 differ" if find_libdarknet() else "libdarknet is not installed"
    assert compared in out


def test_verify_fails_if_weights_are_truncated(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [0.0] * 20)

    status, out, _ = run("verify", tiny_model, "--json")

    assert status == 1
    (check,) = json.loads(out)
    assert check["passed"] is False
    assert (
        "8 floats are missing there: the file is incomplete, or tiny.cfg belongs" in check["detail"]
    )


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


def test_verify_shows_both_resize_rules_if_none_is_stated(
    tiny_model: Path, wide_picture: Path
) -> None:
    """640x320 in 32x32: the box of 16x8 is twenty times larger, or twenty and ten times."""
    status, out, _ = run("verify", tiny_model, "--picture", wide_picture)

    assert status == 0
    assert "resize     not checked  neither model.yaml nor the .cfg states it: letterbox is" in out
    assert "write resize: letterbox (pjreddie's Darknet) or resize: stretch (AlexeyAB's" in out
    lines = out.partition("neither model.yaml")[2].splitlines()[1:]
    assert [" ".join(line.split()) for line in lines] == [
        "wide.png (label, score, centre x and y, width x height in pixels)",
        "letterbox stretch",
        "square 0.94 320 160 320x160 square 0.94 320 160 320x80",
    ]


def test_verify_shows_at_most_ten_detections_of_each_rule(
    tmp_path: Path, wide_picture: Path
) -> None:
    model = write_tiny_model(tmp_path / "model", width=384, height=32)

    _, out, _ = run("verify", model, "--picture", wide_picture)

    lines = out.partition("neither model.yaml")[2].splitlines()[1:]
    assert len(lines) == 2 + 10 + 1
    assert lines[-1].split() == ["and", "2", "more", "and", "2", "more"]


def test_verify_reports_what_both_rules_find_as_json(tiny_model: Path, wide_picture: Path) -> None:
    _, out, _ = run("verify", tiny_model, "--picture", wide_picture, "--json")

    (check,) = (one for one in json.loads(out) if one["name"] == "resize")
    assert check["passed"] is None
    assert check["found"]["picture"] == "wide.png"
    found = {rule: check["found"][rule] for rule in ("letterbox", "stretch")}
    assert [one[0] for rule in found for one in found[rule]] == ["square", "square"]
    assert [one[2] for rule in found for one in found[rule]] == [
        [320, 160, 320, 160],
        [320, 160, 320, 80],
    ]


def test_verify_compares_the_rules_on_a_picture_it_is_given_anyway(
    tmp_path: Path, picture: Path, wide_picture: Path
) -> None:
    """The golden picture, or else the first of --pictures; a damaged one is only mentioned."""
    golden = "golden: {picture: golden.png, expected: [[square, 0.935, [16, 16, 16, 8]]]}\n"
    with_golden = write_tiny_model(tmp_path / "golden", manifest=golden)
    (with_golden / "golden.png").write_bytes(encode(plain(32, 32)))
    without = write_tiny_model(tmp_path / "without")
    wide_picture.with_name("a.png").write_text("<html></html>")

    outputs = [
        run("verify", with_golden, "--pictures", picture.parent)[1],
        run("verify", without, "--pictures", picture.parent, "--picture", picture)[1],
        run("verify", without, "--pictures", picture.parent)[1],
    ]

    assert "golden.png (label," in outputs[0]
    assert "plain.png (label," in outputs[1]
    assert "a.png: " in next(line for line in outputs[2].splitlines() if "resize" in line[:6])


@pytest.mark.parametrize(
    ("manifest", "options", "expected"),
    [
        ("resize: stretch\n", (), "stretch, as model.yaml or the .cfg states"),
        ("resize: stretch\n", ("--resize", "letterbox"), "letterbox, as --resize states"),
    ],
)
def test_verify_asks_for_no_choice_if_the_rule_is_stated(
    tmp_path: Path, manifest: str, options: tuple[str, ...], expected: str
) -> None:
    model = write_tiny_model(tmp_path / "model", manifest=manifest)

    status, out, _ = run("verify", model, *options)

    assert status == 0
    assert f"resize     ok           {expected}\n" in out
    assert "not checked  neither" not in out
