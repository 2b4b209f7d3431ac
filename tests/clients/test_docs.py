"""The programs of docs/grpc.md, run as a reader runs them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT, Service, free_port

ROOM = ROOT / ".venv-clients"
PROGRAMS = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / "docs" / "grpc.md").read_text())
SHOWS = [
    r"(class \d+, score [01]\.\d\d: \d+ \d+ \d+ \d+\n)+",
    r"([\w ]+, score [01]\.\d\d: \d+ \d+ \d+ \d+\n)+",
    r"(?s)grpc\.health\.v1\.Health\n.*\.GRPCInferenceService\nname: .yolov3-tiny-emoji.\n.*",
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if not (ROOM / "ready").exists():
        pytest.skip("needs .venv-clients, which `make clients` sets up")
    chosen = free_port()
    env = {"MODEL_PATH": str(DEMO_MODEL), "GRPC_PORT": str(chosen)}
    log = tmp_path_factory.mktemp("docs") / "log"
    with Service("inference", free_port(), env, log) as service:
        service.wait_ready()
        yield chosen


@pytest.mark.parametrize("number", range(len(SHOWS)))
def test_each_program_shows_what_the_text_says(port: int, number: int, tmp_path: Path) -> None:
    program = tmp_path / "boxes.py"
    program.write_text(PROGRAMS[number].replace("127.0.0.1:4003", f"{LOOPBACK}:{port}"))

    ended = subprocess.run(
        [ROOM / "bin" / "python", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(SHOWS[number], ended.stdout), ended.stdout


def test_all_programs_are_run() -> None:
    assert len(PROGRAMS) == len(SHOWS)
