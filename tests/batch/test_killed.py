"""Kill a batch before every step and at random times: the next run loses and repeats nothing."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from elastic_yolo.cli.__main__ import main
from tests.support.batches import names_in, read_errors, read_results, write_pictures
from tests.support.killed_steps import count_steps

# The system calls that change the output.
STEPS = ("fsync", "replace", "mkdir", "unlink", "rmdir")
BAD = (1, 6, 7)
COUNT = 23
FORMATS = ("jsonl", "coco", "parquet", "drawn")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    [__name__, "elastic_yolo.cli.batch", "elastic_yolo.detector.engines.openvino"]
)


def work(arguments: list[str], log: Path, killed_at: int | None, steps: Any) -> None:
    """Run the command in this process and exit; with `killed_at`, SIGKILL itself at that step."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    count_steps(STEPS, killed_at, steps)
    os._exit(main(arguments))


class Job:
    """A batch of a few pictures, which is run, killed and run again."""

    def __init__(self, folder: Path, model: Path, source: Path, forms: tuple[str, ...]) -> None:
        """Write to FOLDER/out, a new folder."""
        folder.mkdir()
        self.output = folder / "out"
        self.forms = forms
        self._log = folder / "log"
        formats = [part for form in forms for part in ("--format", form)]
        self._arguments = [
            "batch", "--input", str(source), "--output", str(self.output), "--model", str(model),
            "--shard-size", "4", *formats,
        ]  # fmt: skip

    def start(self, killed_at: int | None = None, steps: Any = None) -> Any:
        """Start it in a process."""
        process = processes.Process(
            target=work, args=(self._arguments, self._log, killed_at, steps)
        )
        process.start()
        return process

    def run(self, killed_at: int | None = None) -> tuple[int, int]:
        """Run it; return the exit status and the number of steps."""
        steps = processes.Value("i", 0)
        process = self.start(killed_at, steps)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), self._log.read_text()
        return process.exitcode, steps.value

    def check(self, count: int = COUNT, bad: tuple[int, ...] = BAD) -> None:
        """Require that a finished job has every picture once in every format, and nothing else."""
        wanted = {f"{number:04}.png" for number in range(count) if number not in bad}
        shards = range(
            len(json.loads((self.output / "manifest.json").read_text())["files"][self.forms[0]])
        )
        expected = {"errors.jsonl", "manifest.json"}
        if "jsonl" in self.forms:
            assert read_results(self.output).keys() == wanted
            expected |= {f"results-{shard:05}.jsonl" for shard in shards}
        if "coco" in self.forms:
            found = [
                one["file_name"] for shard in shards
                for one in json.loads((self.output / f"results-{shard:05}.coco.json").read_bytes())
            ]  # fmt: skip
            assert sorted(found) == sorted(wanted)
            expected |= {f"results-{shard:05}.coco.json" for shard in shards}
        if "parquet" in self.forms:
            tables = [pq.read_table(path) for path in self.output.glob("*.parquet")]
            found = [name for table in tables for name in table["picture"].to_pylist()]
            assert sorted(found) == sorted(wanted)
            expected |= {f"results-{shard:05}.parquet" for shard in shards}
        if "drawn" in self.forms:
            expected |= {f"drawn/{name}.jpg" for name in wanted}
        assert read_errors(self.output).keys() == {f"{number:04}.png" for number in bad}
        assert names_in(self.output) == expected
        assert [path.name for path in self.output.iterdir() if path.name == ".unfinished"] == []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 23 files, of which three are no pictures."""
    return write_pictures(tmp_path_factory.mktemp("killed") / "in", COUNT, BAD)


@pytest.mark.parametrize("every", [29, pytest.param(3, marks=pytest.mark.long)])
def test_a_kill_before_any_step_loses_and_repeats_nothing(
    tmp_path: Path, tiny_model: Path, source: Path, every: int
) -> None:
    """In all formats: between two files, between files and checkpoint, at the end."""
    whole = Job(tmp_path / "whole", tiny_model, source, FORMATS)
    _, steps = whole.run()
    whole.check()
    assert steps > 60
    for step in range(1, steps + 1, every):
        job = Job(tmp_path / str(step), tiny_model, source, FORMATS)
        job.run(step)
        assert job.run()[0] == 0
        job.check()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("forms", [("jsonl",), FORMATS], ids=["jsonl", "all formats"])
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.long)])
def test_a_kill_at_any_time_loses_and_repeats_nothing(
    tmp_path: Path, tiny_model: Path, kills: int, forms: tuple[str, ...]
) -> None:
    """Anywhere in the run, and sometimes several times in one job."""
    chance = random.Random(f"{kills} {forms}")  # noqa: S311
    count, bad = 200, (0, 3, 50, 51, 52, 53, 54, 55, 199)
    source = write_pictures(tmp_path / "in", count, bad)
    usual_s = min(whole_run_s(tmp_path / f"usual-{n}", tiny_model, source, forms) for n in "ab")
    runs = killed = resumed = 0
    job: Job | None = None
    while killed < kills:
        runs += 1
        assert runs <= 5 * kills
        job = job or Job(tmp_path / str(runs), tiny_model, source, forms)
        process = job.start()
        process.join(usual_s * chance.random())
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        resumed += (job.output / "checkpoint.json").exists()
        if chance.random() < 0.7 or killed == kills:
            assert job.run()[0] == 0
            job.check(count, bad)
            job = None
    print(f"{killed} of {runs} runs killed, {resumed} with a checkpoint")  # noqa: T201  # the result


def whole_run_s(folder: Path, model: Path, source: Path, forms: tuple[str, ...]) -> float:
    """Return how long a run takes that is not killed."""
    job = Job(folder, model, source, forms)
    started = time.monotonic()
    assert job.run()[0] == 0
    return time.monotonic() - started
