"""The console command, as a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import openvino as ov
import pytest

from detector.engines.onnxruntime import why_no_cuda
from tests.pictures import encode, plain
from tests.tiny import ANCHOR, CLASS, OBJECTNESS, SCORE, write_tiny_model, write_weights
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


def test_detect_never_saves_over_a_picture_it_was_given(tiny_model: Path, tmp_path: Path) -> None:
    original = tmp_path / "x.jpg"
    original.write_bytes(encode(plain(64, 64), "JPEG"))
    before = original.read_bytes()
    link = tmp_path / "link"
    link.symlink_to(tmp_path)

    for folder in (tmp_path, link):
        status, out, err = run("detect", "--model", tiny_model, "--save", folder, original)

        assert (status, out) == (2, "")
        assert f"what is found in {original} would replace the picture {original}" in err
        assert original.read_bytes() == before


def test_detect_never_saves_two_pictures_under_one_name(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "plain.jpg"
    other.parent.mkdir()
    other.write_bytes(encode(plain(64, 64), "JPEG"))
    target = tmp_path / "out"

    status, _, err = run("detect", "--model", tiny_model, "--save", target, picture, other)

    assert status == 2
    assert f"{picture} and {other} would both become {target / 'plain.jpg'}" in err
    assert not target.exists()


def test_detect_saves_a_picture_that_is_named_twice(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, _, err = run(
        "detect", "--model", tiny_model, "--save", tmp_path / "out", picture, picture
    )

    assert (status, err) == (0, "")


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


def test_verify_fails_a_folder_whose_weights_are_no_numbers(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", [float("nan")] * 28)

    status, out, _ = run("verify", tiny_model, "--json")

    assert status == 1
    (check,) = json.loads(out)
    assert (check["name"], check["passed"]) == ("files", False)
    assert "layer 0 [convolutional]" in check["detail"]


def test_verify_fails_a_golden_picture_with_another_answer(tmp_path: Path) -> None:
    manifest = (
        "golden:\n  picture: golden.png\n  expected:\n    - [circle, 0.935, [16, 16, 16, 8]]\n"
    )
    model = write_tiny_model(tmp_path / "model", manifest=manifest)
    (model / "golden.png").write_bytes(encode(plain(32, 32)))

    status, out, _ = run("verify", model)

    assert status == 1
    assert "FAILED       no circle with score 0.935 at" in out


def test_verify_fails_weights_that_are_no_numbers(tiny_model: Path) -> None:
    write_weights(tiny_model / "tiny.weights", np.full(7 + 7 * 3, np.nan))

    status, out, _ = run("verify", tiny_model)

    assert status == 1
    assert "files      FAILED       tiny.weights: layer 0 [convolutional]" in out


def test_verify_measures_pictures_that_have_labels(tiny_model: Path, picture: Path) -> None:
    """The square in the middle is found, the circle is not: one of two classes."""
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


def test_verify_reports_all_checks_where_golden_and_pictures_are_unusable(tmp_path: Path) -> None:
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
    assert details["golden"].startswith(f"{model / 'golden.png'}: not a picture that we take")
    assert details["accuracy"].startswith(f"{pictures}: no pictures: expected ")


def test_verify_names_the_pictures_that_it_leaves_out(tiny_model: Path, picture: Path) -> None:
    picture.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.25\n")
    (picture.parent / "page.jpg").write_text("<html></html>")

    status, out, err = run("verify", tiny_model, "--pictures", picture.parent)

    assert status == 0
    assert "left out: page.jpg: not a picture that we take" in err
    assert "mAP@0.5 is 1.0000 on 1 pictures, in fp32" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["detect"],
        ["detect", "--model", "/absent", "x.png"],
        ["detect", "--model", "/", "--threshold", "2", "x.png"],
        ["verify", "/", "--threads", "0"],
        ["bench", "/", "--batch", "1,0"],
        ["bench", "/", "--output", "/absent/bench.json"],
        ["bench", "/", "--output", "/"],
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


def test_a_reader_that_goes_away_is_no_failure_worth_a_message(
    tiny_model: Path, picture: Path
) -> None:
    for arguments in (["--help"], ["detect", "--model", tiny_model, picture]):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as gone:
            ended = subprocess.run(
                [sys.executable, "-m", "cli", *map(str, arguments)],
                cwd=ROOT,
                # Buffered, as for everybody who did not ask Python for something else.
                env={**os.environ, "PYTHONUNBUFFERED": ""},
                stdout=gone,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert (ended.returncode, ended.stderr) == (1, b"")


def test_ctrl_c_is_one_line_also_before_the_work_begins(tiny_model: Path, tmp_path: Path) -> None:
    """It comes after numpy and before OpenVINO; at the latest it waits for a picture for ever."""
    picture = tmp_path / "picture.png"
    os.mkfifo(picture)
    command = [sys.executable, "-X", "importtime", "-m", "cli", "detect"]
    with subprocess.Popen(
        [*command, "--model", tiny_model, picture], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert any(line.split()[-1] == "numpy" for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    # Python itself ends by the signal if that came while a library had a string evaluated.
    assert process.returncode in (1, -signal.SIGINT)
    assert err.splitlines()[-1] == "elastic-yolo: stopped"
    assert "Traceback" not in err


def test_help_names_the_commands_without_an_engine() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    for command in ("detect", "verify", "convert", "bench"):
        assert f"\n    {command}  " in ended.stdout
    imported = {line.split()[-1] for line in ended.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"numpy", "openvino", "onnx"}


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
    assert "left out: darknet cpu fp32 x1: " in err
    assert "openvino         fp32" in out


@pytest.mark.skipif(why_no_cuda() is None, reason="CUDA is here: nothing is left out")
def test_bench_leaves_out_cuda_where_there_is_none(tiny_model: Path) -> None:
    status, _, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "1", "--engines", "onnxruntime",
        "--precisions", "fp32,fp16", "--device", "cuda",
    )  # fmt: skip

    assert status == 0
    assert "ready: onnxruntime cpu fp32 x1" in err
    for precision in ("fp32", "fp16"):
        reason = "DEVICE=cuda was asked for: no CUDA, because"
        assert f"left out: onnxruntime cuda {precision} x1: {reason}" in err


def test_convert_writes_onnx_that_takes_pixels(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.onnx"

    status, out, err = run("convert", tiny_model, "--output", target)

    assert (status, out, err) == (0, f"{target}\n", "")
    session = ort.InferenceSession(target)
    (images,) = session.get_inputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(uint8)", ["n", 32, 32, 3])
    (head,) = session.run(None, {"images": np.zeros((1, 32, 32, 3), np.uint8)})
    assert head.ravel().tolist() == [0, 0, 0, 0, OBJECTNESS, CLASS, -CLASS]


def test_convert_with_json_prints_one_object(tiny_model: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny.onnx"

    _, out, _ = run("convert", tiny_model, "--output", target, "--json")

    assert json.loads(out) == {"output": str(target)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_convert_writes_openvinos_form(tiny_model: Path, tmp_path: Path, precision: str) -> None:
    target = tmp_path / "tiny.xml"

    status, out, err = run("convert", tiny_model, "--output", target, "--precision", precision)

    assert (status, out, err) == (0, f"{target}\n", "")
    assert target.with_suffix(".bin").is_file()
    assert ov.Core().read_model(target).input(0).partial_shape.to_string() == "[?,32,32,3]"
    compiled = ov.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (head,) = compiled([np.zeros((1, 32, 32, 3), np.uint8)]).values()
    assert head.ravel().tolist() == [0, 0, 0, 0, OBJECTNESS, CLASS, -CLASS]


def test_convert_prepares_a_cache_and_says_what_auto_takes(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, out, err = run(
        "convert", tiny_model, "--cache", tmp_path / "cache", "--calibration", picture.parent
    )

    assert status == 0, err
    assert err.splitlines()[:2] == ["calibrating: 0/1", "calibrating: 1/1"]
    lines = out.splitlines()
    assert lines[0].startswith("mAP@0.5 on 1 pictures against what fp32 finds, 1 objects; ")
    assert lines[2].split()[1] == "fp32"
    assert lines[-1].startswith("PRECISION=auto here: ")
    assert "of mAP, at most 0.01 allowed" in lines[-1]


def test_convert_measures_against_labels_where_all_pictures_have_them(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    """The model finds the square in the middle and nothing of the circle: half of the classes."""
    picture.with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.25\n1 0.1 0.1 0.2 0.2\n")

    status, out, err = run(
        "convert", tiny_model, "--cache", tmp_path / "cache", "--calibration", picture.parent,
        "--json",
    )  # fmt: skip

    assert status == 0, err
    report = json.loads(out)
    assert (report["pictures"], report["objects"], report["labelled"]) == (1, 2, True)
    assert {row["map"] for row in report["rows"]} == {0.5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do: give --cache and --calibration, or --output"),
        (["--calibration", "client/images"], "--calibration needs --cache"),
        (["--output", "x.onnx", "--precision", "int8"], "--precision int8 needs --cache"),
        (["--precision", "int8"], "nothing to do"),
        (["--cache", "x", "--calibration", "docs", "--precision", "int8"], "is that of --output"),
        (["--output", "x.pt"], "expected a name that ends in .onnx or .xml"),
        (["--output", "/absent/x.onnx"], "no such folder: /absent"),
    ],
)
def test_convert_says_what_is_missing(tiny_model: Path, arguments: list[str], message: str) -> None:
    status, out, err = run("convert", tiny_model, *arguments)

    assert (status, out) == (2, "")
    assert message in err


def test_convert_needs_usable_pictures(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "page.jpg").write_text("<html></html>")

    status, _, err = run(
        "convert", tiny_model, "--cache", tmp_path / "cache",
        "--calibration", tmp_path / "pictures",
    )  # fmt: skip

    assert status == 1
    assert "left out: page.jpg: not a picture" in err
    assert "no usable pictures" in err
