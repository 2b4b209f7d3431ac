"""The disk becomes full during a run: one error line, no loss, and the next run completes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import ROOT
from tests.support.unshare import find_unshare


def attempts(folder: Path, limit: str) -> list[dict[str, Any]]:
    """Provision a second version with various amounts of space, on a tmpfs."""
    ended = subprocess.run(
        [
            *find_unshare("a small disk cannot be mounted here"),
            *(sys.executable, "-W", "error", "-m", "tests.provision.small_disk", folder, limit),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


@pytest.mark.long
@pytest.mark.parametrize("limit", ["pages", "files"])
def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path, limit: str) -> None:
    """From no space to more than enough, in steps of a page or an inode."""
    tried = attempts(tmp_path, limit)

    failed = [one for one in tried if one["status"]]
    assert len(failed) >= 5, "several steps find the disk full"
    assert tried[-1]["status"] == 0, "in the end there is room enough"
    for one in failed:
        assert one["status"] == TRY_AGAIN, one
        failures = [line for line in one["said"].splitlines() if "failed" in line]
        assert len(failures) == 1, one
        full = "No space left on device", "no space for "
        assert any(why in failures[0] for why in full), one
        assert "Traceback" not in one["said"], one
    assert {one["seen"] for one in failed} <= {"1", "2"}
    assert failed[0]["seen"] == "1"
    assert not any(one["left_over"] for one in tried)
    assert {(one["status_with_room"], one["seen_with_room"]) for one in tried} == {(0, "2")}
