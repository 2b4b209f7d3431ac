"""The command line: wrong usage exits with 2 and one line, also without locust."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT
from loadtest.__main__ import main

GOOD = ["--shape", "step", "--target", f"http://{LOOPBACK}:5000"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run"], "the following arguments are required: --shape, --target"),
        (["run", *GOOD, "--shape", "square"], "invalid choice: 'square'"),
        (["run", "--shape", "step", "--target", "localhost"], "expected http://HOST:PORT"),
        (["run", *GOOD, "--users", "0"], "0: expected a whole number, 1 to 10000"),
        (["run", *GOOD, "--duration", "1h"], "1h: expected a whole number, 5 to 86400"),
        (["run", *GOOD, "--slo", "p95=fast"], "'p95=fast': p95 takes a time such as 800ms"),
        (["run", *GOOD, "--timeline", "nowhere.jsonl"], "no such file: nowhere.jsonl"),
        (["run", *GOOD, "--pictures", "nowhere"], "no such folder: nowhere"),
        (["run", *GOOD, "--kubernetes", "--prometheus", "http://p"], "not allowed with argument"),
        (["walk"], "invalid choice: 'walk'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage_is_explained_on_the_last_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert line in err.strip().splitlines()[-1]
    assert not out


def test_help_names_every_shape_and_every_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help"])

    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for word in ("step", "ramp", "spike", "wave", "overload", "2 for wrong usage"):
        assert word in out


def test_without_locust_one_line_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "loadtest", "run", *GOOD, "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        "loadtest: needs jinja2, which is not in this environment: "
        "run `make load-tools`, then .venv-load/bin/python -m loadtest\n"
    )
