"""Inputs and outputs of `elastic-yolo batch`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elastic_yolo.lab.processes.stack import ROOT
from tests.support.pictures import encode, plain

Results = dict[str, list[Any]]
"""The detections by the name of the picture."""


def write_pictures(folder: Path, count: int, bad: Sequence[int] = ()) -> Path:
    """Write PNGs of different sizes, so that each has its own result, and files that are none."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        content = b"none" if number in bad else encode(plain(32 + number % 50, 64 + number // 50))
        (folder / f"{number:04}.png").write_bytes(content)
    return folder


def read_lines(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the lines of all files of a pattern."""
    paths = sorted(folder.glob(pattern))
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def read_results(folder: Path) -> Results:
    """Return the results of a job, each of which must be there once."""
    lines = read_lines(folder, "results-*.jsonl")
    found = {line["picture"]: line["data"] for line in lines}
    assert len(found) == len(lines)
    return found


def read_errors(folder: Path) -> dict[str, str]:
    """Return the errors of a finished job, each of which must be there once."""
    lines = read_lines(folder, "errors.jsonl")
    found = {line["picture"]: line["error"] for line in lines}
    assert len(found) == len(lines)
    return found


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished job."""
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


def names_in(folder: Path) -> set[str]:
    """Return the paths of all files of an output, without the lock."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths} - {".lock"}


@contextmanager
def started(
    *arguments: str | Path, python: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run `elastic-yolo batch` from the sources here, at most until the block ends."""
    command = [str(python or sys.executable), "-m", "elastic_yolo.cli", "batch"]
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
