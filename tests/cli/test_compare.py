"""`elastic-yolo compare`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.libdarknet import find_libdarknet
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT
from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.tiny import SCORE, write_tiny_model

SCENES = [str(ROOT / "client" / "images" / f"scene-0{number}.jpg") for number in (1, 2)]


@pytest.fixture
def stated(tmp_path: Path, picture: Path) -> Path:
    """A file with what the tiny model detects in the picture: one square, 160 x 80 pixels."""
    return write(tmp_path / "theirs.json", picture, [["square", SCORE, [160, 160, 160, 80]]])


def write(path: Path, picture: Path, data: list[list[object]]) -> Path:
    path.write_text(json.dumps({"picture": f"/elsewhere/{picture.name}", "data": data}))
    return path


def test_equal_boxes_are_counted_as_the_same(tiny_model: Path, picture: Path, stated: Path) -> None:
    status, out, _ = run("compare", tiny_model, picture, "--with", stated, "--fail")

    assert status == 0
    assert out.splitlines()[0] == "theirs: theirs.json"
    assert out.splitlines()[2] == (
        "1 pictures, threshold 0.5, iou 0.45; moved: more than 1 px or 0.01"
    )
    assert [line.split() for line in out.splitlines()[4:7]] == [
        ["class", "theirs", "ours", "same", "moved", "lost", "gained"],
        ["square", "1", "1", "1", "0", "0", "0"],
        ["all", "1", "1", "1", "0", "0", "0"],
    ]
    assert out.splitlines()[-1] == "largest difference of a pair: 0.00 px, 0.0000 of score"


def test_differences_are_listed_and_fit_80_columns(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    other = write(
        tmp_path / "other.json",
        picture,
        [["square", 0.8, [170, 160, 160, 80]], ["circle" + "x" * 60, 0.7, [9, 9, 9, 9]]],
    )

    status, out, err = run("compare", tiny_model, picture, "--with", other)

    assert status == 0
    assert out.splitlines()[-2:] == [
        "  plain.png          lost    circlexxxxxxxxxx 0.70  at 9 9, 9 x 9",
        "  plain.png          moved   square           0.80 -> 0.94  10.0 px",
    ]
    assert max(map(len, out.splitlines())) <= 80
    assert "note: labels of other.json that the model does not have: circlexxx" in err


def test_fail_makes_differences_the_exit_status(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.json", picture, [])

    assert run("compare", tiny_model, picture, "--with", other)[0] == 0
    assert run("compare", tiny_model, picture, "--with", other, "--fail")[0] == 1
    assert (
        run("compare", tiny_model, picture, "--with", other, "--fail", "--threshold", "1")[0] == 0
    )


def test_json_has_the_conditions_and_all_differences(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    other = write(tmp_path / "other.json", picture, [["square", 0.935, [163, 160, 160, 80]]])

    status, out, _ = run(
        "compare", tiny_model, picture, "--with", other, "--json", "--resize", "stretch",
        "--engine", "openvino", "--precision", "fp32", "--px", "2",
    )  # fmt: skip

    found = json.loads(out)
    assert status == 0
    assert (found["model"], found["with"], found["resize"]) == ("tiny", "other.json", "stretch")
    assert (found["engine"], found["precision"], found["exact"]) == ("openvino", "fp32", True)
    assert found["tolerance"] == {"px": 2, "score": 0.01}
    assert found["totals"] == {
        "theirs": 1, "ours": 1, "same": 0, "moved": 1, "lost": 0, "gained": 0
    }  # fmt: skip
    assert found["classes"] == {"square": found["totals"]}
    (difference,) = found["differences"]
    assert difference["picture"] == str(picture)
    assert difference["theirs"] == ["square", 0.935, [163, 160, 160, 80]]
    assert difference["ours"] == ["square", pytest.approx(SCORE, abs=1e-5), [160, 160, 160, 80]]
    assert (difference["kind"], difference["px"], found["largest_px"]) == ("moved", 3, 3)


def test_the_output_of_detect_is_one_of_the_forms(tmp_path: Path) -> None:
    """The same detector, and the default decoding of `detect`."""
    _, out, _ = run("detect", "--model", DEMO_MODEL, "--json", *SCENES)
    theirs = tmp_path / "detect.json"
    theirs.write_text(out)

    status, out, _ = run(
        "compare", DEMO_MODEL, *SCENES, "--with", theirs, "--no-exact", "--json", "--fail"
    )

    found = json.loads(out)
    assert status == 0
    assert found["pictures"] == 2
    assert found["totals"]["same"] == found["totals"]["theirs"] > 5


@pytest.mark.parametrize(("other", "rule"), [("opencv", "stretch"), ("darknet", "letterbox")])
def test_the_other_detectors_imply_how_pictures_are_resized(
    other: str, rule: str, tmp_path: Path
) -> None:
    if other == "darknet" and find_libdarknet() is None:
        pytest.skip('libdarknet is missing: run "make oracle"; NOT compared with Darknet')

    status, out, err = run(
        "compare", DEMO_MODEL, *SCENES, "--with", other, "--json", "--fail", "--save", tmp_path
    )

    found = json.loads(out)
    assert status == 0
    assert found["resize"] == rule
    assert found["totals"]["same"] == found["totals"]["ours"] > 5
    # The embedded model states letterbox.
    assert ("note: compared with resize: stretch" in err) == (rule == "stretch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scene-01.jpg", "scene-02.jpg"]
    assert (tmp_path / "scene-01.jpg").read_bytes().startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("stated", [None, "letterbox", "stretch"])
def test_a_file_of_the_fork_implies_stretched_pictures_unless_the_model_states_a_rule(
    stated: str | None, tiny_model: Path, wide_picture: Path, tmp_path: Path
) -> None:
    if stated:
        (tiny_model / "model.yaml").write_text(f"resize: {stated}\n")
    box = {"center_x": 0.5, "center_y": 0.5, "width": 0.5, "height": 0.25}
    found = {"class_id": 0, "name": "square", "relative_coordinates": box, "confidence": SCORE}
    other = tmp_path / "result.json"
    other.write_text(json.dumps([{"filename": str(wide_picture), "objects": [found]}]))

    status, out, err = run("compare", tiny_model, wide_picture, "--with", other, "--json")

    report = json.loads(out)
    assert status == 0
    assert report["resize"] == (stated or "stretch")
    assert report["totals"]["same"] == (report["resize"] == "stretch")
    assert ("note: compared with resize: stretch" in err) == (stated is None)


def test_a_folder_stands_for_its_pictures(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encode(plain(64, 64)))
    (folder / "notes.txt").write_text("no picture")
    theirs = tmp_path / "theirs.json"
    theirs.write_text("\n".join(f'{{"picture": "{name}.png", "data": []}}' for name in "ab"))

    status, out, _ = run("compare", tiny_model, folder, "--with", theirs, "--json")

    assert status == 0
    assert (json.loads(out)["pictures"], json.loads(out)["totals"]["gained"]) == (2, 2)


def test_a_picture_that_cannot_be_compared_is_one_line(
    tiny_model: Path, picture: Path, stated: Path, tmp_path: Path
) -> None:
    """A damaged one, one that the file lacks; the rest is compared."""
    bad, other = tmp_path / "bad.jpg", tmp_path / "other.png"
    bad.write_text("<html></html>")
    other.write_bytes(encode(plain(32, 32)))

    status, out, err = run(
        "compare", tiny_model, bad, other, tmp_path / "absent.png", picture, "--with", stated,
        "--json",
    )  # fmt: skip

    lines = [line for line in err.splitlines() if not line.startswith("comparing: ")]
    assert status == 1
    assert lines[0].startswith(f"elastic-yolo: {bad}: ")
    assert lines[1] == f"elastic-yolo: {other}: theirs.json has no entry for this picture"
    assert lines[2].startswith(f"elastic-yolo: {tmp_path / 'absent.png'}: ")
    assert (json.loads(out)["pictures"], json.loads(out)["failed"]) == (1, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--with", "tensorflow"], "expected opencv, darknet or a file, found tensorflow"),
        ([], "--with"),
        (["--with", "opencv", "--px", "0"], "expected a number above 0"),
        (["--with", "opencv", "--resize", "crop"], "invalid choice: 'crop'"),
    ],
)
def test_wrong_usage_of_compare_ends_with_two(
    tiny_model: Path, picture: Path, arguments: list[str], said: str
) -> None:
    status, out, err = run("compare", tiny_model, picture, *arguments)

    assert (status, out) == (2, "")
    assert said in err


def test_compare_never_overwrites_its_input(tiny_model: Path, tmp_path: Path, stated: Path) -> None:
    original = tmp_path / "x.jpg"
    original.write_bytes(encode(plain(64, 64), "JPEG"))

    status, _, err = run("compare", tiny_model, original, "--with", stated, "--save", tmp_path)

    assert status == 2
    assert "would overwrite the picture" in err


def test_an_unusable_file_is_one_line(tiny_model: Path, picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("[1")

    status, out, err = run("compare", tiny_model, picture, "--with", broken)

    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith(f"elastic-yolo: {broken}: ")


def test_a_network_that_darknet_lacks_is_one_line(tmp_path: Path, picture: Path) -> None:
    if find_libdarknet() is None:
        pytest.skip('libdarknet is missing: run "make oracle"; its limits are NOT tested')
    folder = write_tiny_model(tmp_path / "fork")
    cfg = folder / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("num=1", "num=1\nscale_x_y=1.1"))

    status, out, err = run("compare", folder, picture, "--with", "darknet")

    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("elastic-yolo: Darknet does not support the layer in")
