"""`elastic-yolo convert`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import openvino as ov
import pytest

from tests.support.command import run
from tests.support.tiny import CLASS, OBJECTNESS


def test_convert_writes_onnx_with_uint8_input(tiny_model: Path, tmp_path: Path) -> None:
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
def test_convert_writes_openvino_ir(tiny_model: Path, tmp_path: Path, precision: str) -> None:
    target = tmp_path / "tiny.xml"

    status, out, err = run("convert", tiny_model, "--output", target, "--precision", precision)

    assert (status, out, err) == (0, f"{target}\n", "")
    assert target.with_suffix(".bin").is_file()
    assert ov.Core().read_model(target).input(0).partial_shape.to_string() == "[?,32,32,3]"
    compiled = ov.Core().compile_model(target, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (head,) = compiled([np.zeros((1, 32, 32, 3), np.uint8)]).values()
    assert head.ravel().tolist() == [0, 0, 0, 0, OBJECTNESS, CLASS, -CLASS]


def test_convert_fills_a_cache_and_prints_the_choice_of_auto(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    status, out, err = run(
        "convert", tiny_model, "--cache", tmp_path / "cache", "--calibration", picture.parent
    )

    assert status == 0, err
    assert err.splitlines()[:2] == ["calibrating: 0/2", "calibrating: 2/2"]
    lines = out.splitlines()
    assert lines[0].startswith("mAP@0.5 on 1 pictures against the detections of fp32, 1 objects; ")
    assert lines[2].split()[1] == "fp32"
    assert lines[-1].startswith("PRECISION=auto here: ")
    assert lines[-2] == "1 pictures: too few to judge; give 50 or more"
    assert "it loses 0.0000 of mAP (95 % interval 0.0000 to 0.0000, 1 pictures: " in lines[-1]
    assert lines[-1].endswith("too few to judge), the budget is 0.01")


def test_convert_measures_against_labels_if_all_pictures_have_them(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    """The model detects the square and not the circle: one of two classes."""
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
        ([], "nothing to do: pass --cache and --calibration, or --output"),
        (["--calibration", "client/images"], "--calibration needs --cache"),
        (["--output", "x.onnx", "--precision", "int8"], "--precision int8 needs --cache"),
        (["--precision", "int8"], "nothing to do"),
        (
            ["--cache", "x", "--calibration", "docs", "--precision", "int8"],
            "--precision needs --output",
        ),
        (["--output", "x.pt"], "expected a file name that ends in .onnx or .xml"),
        (["--output", "/absent/x.onnx"], "no such folder: /absent"),
    ],
)
def test_convert_reports_missing_options(
    tiny_model: Path, arguments: list[str], message: str
) -> None:
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
    assert "skipped: page.jpg: not an accepted picture" in err
    assert "no usable pictures" in err
