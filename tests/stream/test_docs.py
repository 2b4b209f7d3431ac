"""The commands of docs/stream.md run, in the order of the page, and do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT
from tests.stream.mosquitto import Mosquitto, needs_mosquitto
from tests.stream.rtsp_server import Camera, needs_rtsp
from tests.stream.videos import write_video
from tests.support.doc_commands import commands_of, make_room

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
# A camera that the page only names: tests/stream/test_camera.py has a real one.
_NAMED_ONLY = "rtsp://user:password@camera/stream1"


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder like a checkout, with the video of the page."""
    room = make_room(tmp_path)
    write_video(room / "street.mp4", [number / 10 for number in range(30)])
    yield room
    # What the page's commands left in the background, if one of them failed.
    subprocess.run(["/usr/bin/pkill", "-f", str(room)], check=False)


def _free_port() -> int:
    """Return a port that is free, and that this process does not reserve for itself."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def test_the_commands_of_the_page_run(room: Path) -> None:
    """In one shell, on free ports; jobs in the background are jobs of that shell."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server, which `make brokers` installs")
    commands = [one for one in commands_of("stream.md") if _NAMED_ONLY not in one]
    script = "set -e -m\n" + "\n".join(f"{one}\necho 'END {n}'" for n, one in enumerate(commands))
    for port in ("6390", "9101", "5002"):
        script = script.replace(port, str(_free_port()))
    script = script.replace("--dir /tmp", f"--dir {room}")

    out = (room / "out").open("w")
    ended = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=room,
        env={**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"},
        stdout=out,
        stderr=subprocess.STDOUT,
        check=False,
    )
    out.close()

    said = (room / "out").read_text()
    assert ended.returncode == 0, said
    outputs = dict(zip(commands, re.split(r"END \d+\n", said), strict=False))
    read = next(text for one, text in outputs.items() if "XREAD" in one)
    assert "airplane" in said
    assert read.count("result") >= 2
    counts = [text.strip() for one, text in outputs.items() if one.endswith("wc -l")]
    assert counts == ["9", "7"], said
    assert len((room / "street.jsonl").read_text().splitlines()) > 1


@needs_rtsp
@needs_mosquitto
def test_the_command_for_a_camera_runs_with_a_real_camera_and_a_real_broker(room: Path) -> None:
    """Its addresses and its model are replaced by those that are here."""
    (command,) = [one for one in commands_of("stream.md") if _NAMED_ONLY in one]
    with Camera(fps=10) as camera, Mosquitto(room) as broker:
        here = (
            command.replace(_NAMED_ONLY, camera.url)
            .replace("mqtt://broker/yard", f"mqtt://{broker.place}/yard")
            .replace("yolov3-tiny", "models/demo")
        )
        ended = subprocess.run(
            ["/bin/bash", "-c", f"timeout -s INT 20 {here} || test $? -eq 124"],
            cwd=room, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    found = re.search(r"([\d,]+) pictures? answered", ended.stderr)
    assert found, ended.stderr
    assert int(found[1].replace(",", "")) > 10
