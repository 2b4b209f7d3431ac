"""The examples and commands of docs/client.md run, and do what the page says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from elastic_yolo.client import errors
from elastic_yolo.lab.processes.stack import ROOT, Stack
from tests.support.doc_commands import commands_of, make_room
from tests.support.examples import codes_of
from tests.support.web_door import SCENES, post_directly

_PORT = "http://127.0.0.1:5000"


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder that looks like a checkout."""
    return make_room(tmp_path)


def run_example(number: int, stack: Stack, folder: Path) -> list[str]:
    """Run a Python example of the page as a program; return the lines that it prints."""
    code = codes_of("client.md")[number]
    assert _PORT in code
    ended = subprocess.run(
        [sys.executable, "-c", code.replace(_PORT, stack.web.url)],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_the_first_example_prints_the_detections(demo_stack: Stack, room: Path) -> None:
    lines = run_example(0, demo_stack, room)

    data = post_directly(demo_stack.web.url, SCENES[0])["data"]
    assert lines == [f"{label} {score} {tuple(box)}" for label, score, box in data]


def test_the_example_with_asyncio_sends_three_pictures(demo_stack: Stack, room: Path) -> None:
    lines = run_example(1, demo_stack, room)

    found = [int(line.split()[1]) for line in lines]
    expected = [len(post_directly(demo_stack.web.url, scene)["data"]) for scene in SCENES[:3]]
    assert found == expected


def test_the_example_that_draws_writes_a_picture(demo_stack: Stack, room: Path) -> None:
    run_example(2, demo_stack, room)

    with Image.open(room / "boxes.png") as drawn, Image.open(SCENES[0]) as scene:
        assert (drawn.format, drawn.size) == ("PNG", scene.size)


def test_the_example_with_an_error_prints_its_problem(demo_stack: Stack, room: Path) -> None:
    (line,) = run_example(3, demo_stack, room)

    assert line.startswith("415 not an accepted picture format")


def test_every_error_is_on_the_page() -> None:
    page = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]

    assert len(kinds) == 10
    assert all(f"`{kind.__name__}`" in page for kind in kinds)


def test_the_commands_run_in_the_order_of_the_page(demo_stack: Stack, room: Path) -> None:
    commands = [one for one in commands_of("client.md") if "detect" in one]
    for command in commands:
        ended = subprocess.run(
            ["/bin/bash", "-c", command.replace(_PORT, demo_stack.web.url)],
            cwd=room, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, (command, ended.stderr)

    assert len(commands) == 6
    assert (room / "boxes.csv").read_text().startswith("picture,image_width")
    with Image.open(room / "boxes" / "scene-04.jpg") as drawn:
        assert drawn.format == "JPEG"
    lines = (room / "found.jsonl").read_text().splitlines()
    assert len({json.loads(line)["picture"] for line in lines}) == len(lines) == len(SCENES)
    assert f"{len(SCENES)} of {len(SCENES)} pictures done before" in ended.stderr
