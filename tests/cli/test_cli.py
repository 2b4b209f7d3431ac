"""Behaviour of all commands: usage, errors, interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.command import run


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["detect"],
        ["detect", "--model", "/absent", "x.png"],
        ["detect", "--model", "/", "--threshold", "2", "x.png"],
        ["verify", "/", "--threads", "0"],
        ["verify", "/", "--threads", "100000"],
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


def test_an_unreadable_model_is_one_line(tmp_path: Path, picture: Path) -> None:
    status, out, err = run("detect", "--model", tmp_path, picture)

    assert (status, out) == (1, "")
    assert err == f"elastic-yolo: {tmp_path}: expected exactly one .cfg file, found none\n"


def test_a_closed_pipe_is_no_error_message(tiny_model: Path, picture: Path) -> None:
    for arguments in (["--help"], ["detect", "--model", tiny_model, picture]):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as gone:
            ended = subprocess.run(
                [sys.executable, "-m", "elastic_yolo.cli", *map(str, arguments)],
                cwd=ROOT,
                # Buffered, as is Python's default.
                env={**os.environ, "PYTHONUNBUFFERED": ""},
                stdout=gone,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
        assert (ended.returncode, ended.stderr) == (1, b"")


def test_ctrl_c_is_one_line_at_any_time(tiny_model: Path, tmp_path: Path) -> None:
    """The signal comes after numpy is imported and before OpenVINO is.

    At the latest, the program waits for a picture that is never written. Whatever happens, a timer
    kills it: a child that ignores SIGINT must not keep the test waiting.
    """
    picture = tmp_path / "picture.png"
    os.mkfifo(picture)
    command = [sys.executable, "-X", "importtime", "-m", "elastic_yolo.cli", "detect"]
    with subprocess.Popen(
        [*command, "--model", tiny_model, picture], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        timer = threading.Timer(90, process.kill)
        timer.start()
        try:
            imported = any(line.split()[-1] == "numpy" for line in process.stderr)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate()
        finally:
            timer.cancel()
            process.kill()

    assert imported
    # Python itself exits by the signal if it arrives while a library evaluates a string.
    assert process.returncode in (1, -signal.SIGINT)
    assert err.splitlines()[-1] == "elastic-yolo: stopped"
    assert "Traceback" not in err


def test_help_lists_the_commands_without_importing_engines() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "elastic_yolo.cli", "--help"],
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


def test_a_command_with_a_missing_package_is_one_line(tmp_path: Path) -> None:
    """An image has only the packages that its role needs."""
    package = tmp_path / "elastic_yolo"
    package.mkdir()
    parts = [
        *(ROOT / "elastic_yolo").glob("*.py"),
        *(ROOT / "elastic_yolo" / name for name in ("cli", "detector", "picture")),
    ]
    for part in parts:
        (package / part.name).symlink_to(part)
    ended = subprocess.run(
        # -S: without the editable installation.
        [sys.executable, "-S", "-m", "elastic_yolo.cli", "hpa-lab", "--help"],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path.endswith("site-packages"))},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    missing = "hpa-lab needs elastic_yolo.lab, which is not installed here"
    assert ended.stderr == f"elastic-yolo: {missing}\n"
