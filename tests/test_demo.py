"""`make demo` with a model of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.real_models import real_model
from tests.support.tiny import write_tiny_model


def run_demo(model: Path, cache: Path) -> tuple[int, str, str]:
    """Run `make demo MODEL=...`; return status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.demo", model],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "TMPDIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_demo_shows_yolov3_tiny_on_photographs(tmp_path: Path) -> None:
    """Its objects are those that Darknet finds, at the same threshold."""
    status, out, err = run_demo(real_model("yolov3-tiny"), tmp_path)

    assert status == 0, err
    assert "1/6  dog.jpg       5 objects " in out
    assert "6 requests (200: 6), 0 failed" in out
    assert "ground truth: 17 of 17 objects found (100%)" in out
    assert out.endswith("pictures with boxes: demo-output/\n")
    assert (ROOT / "demo-output" / "dog.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_the_demo_says_that_no_pictures_suit_a_model(tmp_path: Path) -> None:
    status, out, err = run_demo(write_tiny_model(tmp_path / "model"), tmp_path)

    assert (status, out) == (1, "")
    assert err.endswith("demo: no sample pictures suit tiny: see client/\n")


def test_a_model_that_does_not_start_fails_the_demo(tmp_path: Path) -> None:
    status, out, err = run_demo(tmp_path, tmp_path)

    assert (status, out) == (1, "")
    assert "expected exactly one .cfg file, found none" in err.splitlines()[-1]
