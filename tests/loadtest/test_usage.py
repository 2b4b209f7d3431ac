"""The command line: wrong usage ends with 2 and one line, without locust being there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT

GOOD = ["--shape", "step", "--target", f"http://{LOOPBACK}:5000"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "loadtest", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "the following arguments are required: --shape, --target"),
        (["run", *GOOD, "--shape", "square"], "invalid choice: 'square'"),
        (["run", "--shape", "step", "--target", "localhost"], "expected http://HOST:PORT"),
        (["run", *GOOD, "--users", "0"], "0: expected a whole number, 1 to 10000"),
        (["run", *GOOD, "--duration", "1h"], "1h: expected a whole number, 5 to 86400"),
        (["run", *GOOD, "--slo", "p95=fast"], "'p95=fast': p95 takes a time such as 800ms"),
        (["run", *GOOD, "--timeline", "nowhere.jsonl"], "no such file: nowhere.jsonl"),
        (["run", *GOOD, "--kubernetes", "--prometheus", "http://p"], "not allowed with argument"),
        (["walk"], "invalid choice: 'walk'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_explained_on_the_last_line(arguments: list[str], said: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert said in done.stderr.strip().splitlines()[-1]
    assert not done.stdout


def test_help_names_every_shape_and_every_exit_status() -> None:
    done = run("run", "--help")

    assert done.returncode == 0
    for word in ("step", "ramp", "spike", "wave", "overload", "2 for wrong usage"):
        assert word in " ".join(done.stdout.split())


def test_without_locust_it_is_said_what_to_install(tmp_path: Path) -> None:
    done = run("run", *GOOD, "--out", str(tmp_path))

    assert done.returncode == 1
    assert done.stderr == (
        "loadtest: needs jinja2, which is not in this environment: "
        "run `make load-tools`, then .venv-load/bin/python -m loadtest\n"
    )
