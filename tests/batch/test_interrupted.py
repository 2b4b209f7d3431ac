"""Runs that end early, by a signal or a failure: the next one goes on where they ended."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import ROOT
from tests.batch.conftest import Batch
from tests.support.batches import (
    names_in,
    read_errors,
    read_manifest,
    read_results,
    started,
    write_pictures,
)
from tests.support.unshare import find_unshare
from tests.support.waiting import wait_until

BAD = (5, 50, 250)
COUNT = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 300 files, of which three are no pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "in", COUNT, BAD)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("form", ["jsonl", "drawn"])
def test_a_signal_ends_a_run_and_the_next_one_goes_on(
    batch: Batch, tiny_model: Path, folder: Path, tmp_path: Path, number: int, form: str
) -> None:
    output = tmp_path / "out"
    formats = ("--format", "jsonl", "--format", form)
    arguments = ("--input", folder, "--output", output, "--model", tiny_model, *formats)
    with started(*arguments, "--shard-size", "10") as process:
        wait_until((output / "results-00002.jsonl").exists, "three shards", 60)
        process.send_signal(number)
        out, said = process.communicate(timeout=60)

    assert (process.returncode, out) == (TRY_AGAIN, ""), said
    done = json.loads((output / "checkpoint.json").read_text())["done"]
    assert said.splitlines()[-1] == (
        f"elastic-yolo: stopped after {done} of {COUNT} pictures: "
        "run the same command again to go on"
    )
    assert 20 < done < COUNT
    # What was done is written, also if it is no whole shard.
    errors = [
        json.loads(line)
        for path in output.glob("errors-*")
        for line in path.read_text().splitlines()
    ]
    assert len(read_results(output)) + len(errors) == done
    assert batch(folder, output, *formats) == 0
    assert len(read_results(output)) == COUNT - len(BAD)
    assert len(read_errors(output)) == len(BAD)
    assert read_manifest(output)["pictures"] == COUNT


def test_a_second_signal_ends_it_at_once(tiny_model: Path, tmp_path: Path) -> None:
    """While it waits for a picture, here for a storage that fails."""
    (tmp_path / "all.txt").write_text("s3://bucket/a.jpg\n")
    # A port that nobody listens at; botocore's own attempts take long.
    env = {
        **os.environ, "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    output = tmp_path / "out"
    arguments = ("--input", tmp_path / "all.txt", "--output", output, "--model", tiny_model)
    with started(*arguments, env=env) as process:
        wait_until((output / "checkpoint.json").exists, "the start", 60)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: _handler_is_default(process.pid), "the first signal is handled")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)

    assert process.returncode in (-signal.SIGTERM, TRY_AGAIN)


def _handler_is_default(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    caught = int(
        next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16
    )
    return not caught >> (signal.SIGTERM - 1) & 1


def test_a_signal_before_the_first_picture_ends_it_too(tiny_model: Path, tmp_path: Path) -> None:
    """As process 1 of a container, it would ignore SIGTERM without a handler of its own."""
    os.mkfifo(tmp_path / "all.txt")
    arguments = ("--input", tmp_path / "all.txt", "--output", tmp_path / "out")
    # Opened for writing as soon as the command reads its list.
    with started(*arguments, "--model", tiny_model) as process, (tmp_path / "all.txt").open("wb"):
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)

    assert process.returncode == TRY_AGAIN
    assert said == ("elastic-yolo: stopped before the work began: run the same command again\n")


def small_disk(folder: Path, script: str, *arguments: str | Path) -> tuple[int, str]:
    """Run a shell script on a disk of 1 MB at FOLDER/disk; return its status and stderr."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mount = f"mount -t tmpfs -o size=1M,nr_inodes=100 tmpfs {disk} && cd {disk} && "
    unshare = find_unshare("a small disk cannot be mounted here")
    ended = subprocess.run(
        [*unshare, "/bin/sh", "-c", mount + script, "sh", *arguments],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("full", ["head -c 1000000 /dev/zero > filler", "touch $(seq 95)"])
@pytest.mark.parametrize("form", ["jsonl", "drawn"])
def test_a_full_disk_is_temporary_and_the_next_run_goes_on(
    tiny_model: Path, folder: Path, tmp_path: Path, full: str, form: str
) -> None:
    """Of bytes, or of inodes."""
    run = '"$@"; echo status $?; '
    room = "rm -f filler [0-9]*; mount -o remount,size=64M,nr_inodes=10000 .; "
    command: Sequence[str | Path] = [
        *(sys.executable, "-m", "elastic_yolo.cli", "batch", "--model", tiny_model),
        *("--input", folder, "--output", "out", "--shard-size", "60"),
        *("--format", "jsonl", "--format", form),
    ]

    # The folder is there, and as full as can be.
    script = f"mkdir out; {full} 2>&-; {run} {full} 2>&-; {room} {run} cp -r out {tmp_path}/saved"
    status, said = small_disk(tmp_path, script, *command)

    assert status == 0, said
    statuses = [line for line in said.splitlines() if line.startswith("status ")]
    assert statuses == [f"status {TRY_AGAIN}", "status 0"], said
    reasons = [line for line in said.splitlines() if line.startswith("elastic-yolo: ")]
    assert len(reasons) == 1
    assert " is full: No space left on device" in reasons[0]
    saved = tmp_path / "saved"
    assert len(read_results(saved)) == COUNT - len(BAD)
    assert len(read_errors(saved)) == len(BAD)
    if form == "drawn":
        assert len(names_in(saved / "drawn")) == COUNT - len(BAD)


@pytest.mark.parametrize("prepare", ["", "mkdir out; touch out/.lock; "])
def test_an_output_that_is_read_only_is_a_permanent_failure(
    tiny_model: Path, folder: Path, tmp_path: Path, prepare: str
) -> None:
    command = (sys.executable, "-m", "elastic_yolo.cli", "batch", "--model", tiny_model)

    status, said = small_disk(
        tmp_path,
        f'{prepare} mount -o remount,ro . && "$@"',
        *command, "--input", folder, "--output", "out",
    )  # fmt: skip

    assert (status, said) == (1, "elastic-yolo: out is read-only: Read-only file system\n")


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_that_changes(
    tiny_model: Path, folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "elastic_yolo.cli", "batch", "--model", str(tiny_model)]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, "--input", str(folder), "--output", str(tmp_path / "out")],
        cwd=ROOT, env={**os.environ, "COLUMNS": "60"}, stderr=theirs, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    process.communicate(timeout=60)

    *_, last = shown.decode().split("\r\033[K")
    assert process.returncode == 0
    assert last.startswith(f"{COUNT} of {COUNT} pictures, ")
    assert last.endswith(", 3 bad\r\n")
    assert max(len(line) for line in shown.decode().split("\r\033[K")[1:-1]) < 60


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_pictures(tiny_model: Path, tmp_path: Path) -> None:
    """Many small ones, of which some are bad; from a quarter of the run to its end."""
    write_pictures(tmp_path / "in", 400, range(0, 400, 20))
    names = [f"in/{number:04}.png" for number in range(400)]
    # The same files under other names.
    listed = [f"in/{'./' * times}{name[3:]}" for times in range(30) for name in names]
    (tmp_path / "all.txt").write_text("\n".join(listed))
    output = tmp_path / "out"
    formats = [part for form in ("jsonl", "coco", "parquet") for part in ("--format", form)]
    arguments = ("--input", tmp_path / "all.txt", "--output", output, "--model", tiny_model)
    total, seen = len(listed), {}
    with started(*arguments, "--shard-size", "100", *formats) as process:
        while process.poll() is None:
            done = 100 * len(list(output.glob("results-*.jsonl")))
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
            if found:
                seen[done] = int(found[0]) / 1000
            time.sleep(0.05)
        process.communicate()

    assert process.returncode == 0
    quarter = max(mb for done, mb in seen.items() if total / 5 <= done <= total / 4)
    end = max(mb for done, mb in seen.items() if done >= total * 0.9)
    print(f"{total:,} pictures: {quarter:.0f} MB at a quarter, {end:.0f} MB at the end")  # noqa: T201  # the result
    assert end < quarter + 10
