"""`elastic-yolo bench`, as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elastic_yolo.detector.engines.onnxruntime import why_no_cuda
from tests.support.command import run


@pytest.mark.long
def test_bench_measures_side_by_side(tiny_model: Path, tmp_path: Path) -> None:
    """One short round: the figures mean nothing, but their relations hold."""
    target = tmp_path / "bench.json"
    status, out, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "0.1", "--batch", "1,3", "--json",
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


def test_bench_omits_engines_that_cannot_run(tiny_model: Path) -> None:
    cfg = tiny_model / "tiny.cfg"
    cfg.write_text(cfg.read_text().replace("activation=linear", "activation=hard_mish"))

    status, out, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "0.1", "--engines", "openvino,darknet",
        "--precisions", "fp32",
    )  # fmt: skip

    assert status == 0
    assert "left out: darknet cpu fp32 x1: " in err
    assert "openvino         fp32" in out


@pytest.mark.long
@pytest.mark.skipif(why_no_cuda() is None, reason="CUDA is here: nothing is left out")
def test_bench_omits_cuda_without_a_gpu(tiny_model: Path) -> None:
    status, _, err = run(
        "bench", tiny_model, "--rounds", "1", "--seconds", "0.1", "--engines", "onnxruntime",
        "--precisions", "fp32,fp16", "--device", "cuda",
    )  # fmt: skip

    assert status == 0
    assert "ready: onnxruntime cpu fp32 x1" in err
    for precision in ("fp32", "fp16"):
        reason = "DEVICE=cuda: no CUDA, because"
        assert f"left out: onnxruntime cuda {precision} x1: {reason}" in err
