"""The detector on its own: what docs/library.md shows, and without any web framework."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.detector.manifest import read_manifest
from elastic_yolo.lab.processes.stack import DEMO_MODEL, ROOT


def code_of(page: str) -> str:
    """Return the Python lines that a page of the documentation shows."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    assert found
    return found[1]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_example_in_library_md_prints_detections() -> None:
    ended = python(code_of("library.md"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert re.match(r"[a-z ]+ 0\.\d+ \([\d.]+, [\d.]+, [\d.]+, [\d.]+\)\n", ended.stdout)


def test_the_darknetpy_replacement_returns_the_same_dicts() -> None:
    """The golden picture's boxes, as corners; model.yaml has the expected centres and sizes."""
    expected = read_manifest(DEMO_MODEL).golden
    assert expected is not None
    picture = f"models/demo/{expected.picture}"
    lines, _ = code_of("from-darknetpy.md").rsplit("\n\n", 1)

    ended = python(f"{lines}\nimport json\nprint(json.dumps(detect({picture!r})))")

    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert [one["class"] for one in found] == [label for label, _, _ in expected.expected]
    for one, (_, score, (x, y, width, height)) in zip(found, expected.expected, strict=True):
        assert one["prob"] == pytest.approx(score, abs=0.03)
        assert [one["left"], one["right"]] == pytest.approx([x - width / 2, x + width / 2], abs=1)
        assert [one["top"], one["bottom"]] == pytest.approx([y - height / 2, y + height / 2], abs=1)


def test_the_detector_imports_no_web_framework() -> None:
    ended = python(
        "import sys, elastic_yolo.detector.loading\n"
        "print([name for name in ('fastapi', 'starlette', 'httpx', 'uvicorn', 'services')"
        " if name in sys.modules])"
    )

    assert ended.stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        "detect --model models/demo client/images/scene-01.jpg --engine openvino",
        "detect --model models/demo client/images/scene-01.jpg --engine onnxruntime",
        "convert models/demo --output {tmp}/demo.xml",
    ],
)
def test_the_runtimes_send_no_telemetry(tmp_path: Path, arguments: str) -> None:
    """Where they do, they write an identity into the home directory first."""
    home = tmp_path / "home"
    home.mkdir()
    # In what looks like CI they are silent anyway.
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)

    ended = subprocess.run(
        [sys.executable, "-m", "elastic_yolo.cli", *arguments.format(tmp=tmp_path).split()],
        cwd=ROOT,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert list(home.iterdir()) == []
