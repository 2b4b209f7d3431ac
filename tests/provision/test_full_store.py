"""Every command that writes a store exits with 75 on a full disk; a full cache is named."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.cli.__main__ import main as elastic_yolo
from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.write_errors import describe_write_error
from tests.support.models import wanted, write_config, write_source
from tests.support.unshare import find_unshare


@pytest.mark.long
def test_a_full_disk_is_temporary_for_every_command_and_a_full_cache_is_named(
    tmp_path: Path,
) -> None:
    ended = subprocess.run(
        [
            *find_unshare("a small disk cannot be mounted here"),
            *(sys.executable, "-m", "tests.provision.full_store", tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    cache = tmp_path / "cache"

    assert {action: status for action, (status, _) in found.items()} == {
        "pull": TRY_AGAIN,
        "rollback": TRY_AGAIN,
        # It only deletes.
        "gc": 0,
        "new store": TRY_AGAIN,
        "rollback with room": 0,
        "pull with a full cache": TRY_AGAIN,
        "pull with room in the cache": 0,
    }
    assert found["rollback"][1].endswith("stable.json: No space left on device\n")
    assert len(found["rollback"][1].splitlines()) == 1
    assert f"{cache} is full: No space left on device" in found["pull with a full cache"][1]
    said_by_engine = f"cannot cache openvino-fp32: {cache}/"
    assert said_by_engine in ended.stderr
    assert " is full: No space left on device" in ended.stderr.partition(said_by_engine)[2]
    assert "basic_ios" not in ended.stderr


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (("rollback", "tiny"), "no such folder"),
        (("gc",), "no such folder"),
        (("pull", "--config", "CONFIG"), "not writable: "),
    ],
)
def test_a_store_that_is_no_folder_is_a_permanent_failure(
    tmp_path: Path, action: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "models.yaml", wanted(write_source(tmp_path / "source")))
    (tmp_path / "store").write_text("a file")
    arguments = [str(config) if one == "CONFIG" else one for one in action]

    status = elastic_yolo(["provision", *arguments, "--store", str(tmp_path / "store" / "below")])

    assert status == 1
    assert f"store/below: {why}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "{folder} is full: No space left on device ("),
        (errno.EDQUOT, "{folder} is full: Disk quota exceeded"),
        (errno.EROFS, "{folder} is read-only: Read-only file system"),
        (errno.EACCES, "{folder} is not writable by user {user}: Permission denied"),
        (errno.ENOTDIR, "{folder}/above is not a folder: Not a directory"),
        (errno.EIO, "{folder} cannot be written to: Input/output error"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_named_with_the_reason(
    tmp_path: Path, number: int, expected: str
) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "above"))

    text = describe_write_error(tmp_path, error)

    assert text.startswith(expected.format(folder=tmp_path, user=os.geteuid()))
