"""The console command, as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.pictures import encode, plain
from tests.tiny import ANCHOR, SCORE, write_tiny_model, write_weights
from tools.stack import ROOT


def run(*arguments: str | Path) -> tuple[int, str, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "plain.png"
    path.write_bytes(encode(plain(320, 320)))
    return path


def test_detect_prints_boxes(tiny_model: Path, picture: Path) -> None:
    status, out, err = run("detect", "--model", tiny_model, picture)

    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{picture}: 1 found",
        "  square           0.935     160.00    160.00    160.00     80.00",
    ]


def test_detect_prints_one_json_object_a_picture(tiny_model: Path, picture: Path) -> None:
    status, out, _ = run("detect", "--model", tiny_model, "--json", picture, picture)

    assert status == 0
    answers = [json.loads(line) for line in out.splitlines()]
    expected = ["square", pytest.approx(SCORE, abs=1e-5), [160, 160, *(10 * n for n in ANCHOR)]]
    assert [answer["data"] for answer in answers] == [[expected], [expected]]


def test_detect_writes_the_picture_with_boxes(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, _, _ = run("detect", "--model", tiny_model, "--save", tmp_path / "out", picture)

    assert status == 0
    assert (tmp_path / "out" / "plain.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_a_bad_picture_is_one_line_and_the_others_are_done(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_text("<html></html>")

    status, out, err = run("detect", "--model", tiny_model, bad, tmp_path / "absent.png", picture)

    assert status == 1
    assert f"{picture}: 1 found" in out
    not_a_picture, not_there = err.splitlines()
    assert not_a_picture.startswith(f"elastic-yolo: {bad}: not a picture that we take")
    assert not_there.startswith(f"elastic-yolo: {tmp_path / 'absent.png'}: ")
    assert "No such file" in not_there


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


def test_verify_fails_a_folder_whose_weights_are_short(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [0.0] * 20)

    status, out, _ = run("verify", tiny_model, "--json")

    assert status == 1
    (check,) = json.loads(out)
    assert check["passed"] is False
    assert "8 floats are missing" in check["detail"]


def test_verify_fails_a_golden_picture_with_another_answer(tmp_path: Path) -> None:
    manifest = (
        "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.935, [16, 16, 16, 8]]\n"
    )
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))

    status, out, _ = run("verify", model)

    assert status == 1
    assert "FAILED       no circle with score 0.935 at" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["detect"],
        ["detect", "--model", "/absent", "x.png"],
        ["detect", "--model", "/", "--threshold", "2", "x.png"],
        ["verify", "/", "--threads", "0"],
        ["fly"],
    ],
)
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    status, out, err = run(*arguments)

    assert (status, out) == (2, "")
    assert "usage: elastic-yolo" in err


def test_a_model_that_cannot_be_read_is_one_line(tmp_path: Path, picture: Path) -> None:
    status, out, err = run("detect", "--model", tmp_path, picture)

    assert (status, out) == (1, "")
    assert err == f"elastic-yolo: {tmp_path}: expected exactly one .cfg file, found none\n"


def test_bench_measures_side_by_side(tiny_model: Path, tmp_path: Path) -> None:
    """One short round: the figures mean nothing, their relations hold all the same."""
    target = tmp_path / "bench.json"
    status, out, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "1", "--batch", "1,3", "--json",
        "--engines", "openvino,onnxruntime,opencv", "--precisions", "fp32", "--output", target,
    )  # fmt: skip

    assert status == 0, err
    rows = json.loads(out)
    assert rows == json.loads(target.read_text())
    found = {(row["engine"], row["precision"], row["batch"]) for row in rows}
    assert found == {
        (engine, "fp32", batch)
        for engine in ("openvino", "onnxruntime", "opencv")
        for batch in (1, 3)
    }
    for row in rows:
        assert row["lowest_ms"] <= row["median_ms"] <= row["highest_ms"]
        # The milliseconds are rounded to a thousandth, of which there are few here.
        slowest, fastest = row["median_ms"] + 0.001, max(row["median_ms"] - 0.001, 1e-6)
        assert 1000 * row["batch"] / slowest <= row["images_per_s"]
        assert row["images_per_s"] <= 1000 * row["batch"] / fastest


def test_bench_leaves_out_what_cannot_run(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("activation=linear", "activation=hard_mish"))

    status, out, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "1", "--engines", "openvino,darknet",
        "--precisions", "fp32",
    )  # fmt: skip

    assert status == 0
    assert "left out: darknet fp32 x1: " in err
    assert "openvino     fp32" in out


def test_convert_writes_onnx(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.onnx"

    status, out, err = run("convert", tiny_model, "--precision", "fp32", "--output", target)

    assert (status, out, err) == (0, f"{target}\n", "")
    (images,) = onnx.load(target).graph.input
    assert images.name == "images"


@pytest.mark.parametrize("arguments", [["fp32"], ["int8", "--cache", "/tmp"]])  # noqa: S108
def test_convert_says_what_is_missing(tiny_model: Path, arguments: list[str]) -> None:
    status, out, err = run("convert", tiny_model, "--precision", *arguments)

    assert (status, out) == (2, "")
    assert f"--precision {arguments[0]} needs --" in err


def test_convert_needs_usable_pictures(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "page.jpg").write_text("<html></html>")

    status, _, err = run(
        "convert", tiny_model, "--precision", "int8", "--cache", tmp_path / "cache",
        "--calibration", tmp_path / "pictures",
    )  # fmt: skip

    assert status == 1
    assert "left out: page.jpg: not a picture" in err
    assert "no usable pictures" in err
