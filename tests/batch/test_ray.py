"""`elastic-yolo batch --engine ray` on this machine, with the Ray of `make ray`."""

from __future__ import annotations

import json
import os
import signal
import tarfile
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
from tests.support.waiting import wait_until

COUNT, BAD = 300, (3, 100, 299)

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter that has Ray."""
    if not (ROOT / ".venv-ray" / "ready").exists():
        pytest.skip("needs Ray in .venv-ray, which `make ray` installs")
    return ROOT / ".venv-ray" / "bin" / "python"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 300 files, of which three are no pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "in", COUNT, BAD)


class Ray:
    """The command with Ray."""

    def __init__(self, python: Path, model: Path) -> None:
        """Run it with an interpreter and a model."""
        self.python = python
        self.options = ("--model", model, "--engine", "ray", "--threads", "1")

    def __call__(self, source: Path, output: Path, *options: str) -> tuple[int, str, str]:
        """Run it to the end; return status, stdout and stderr."""
        arguments = ("--input", source, "--output", output, *self.options, *options)
        with started(*arguments, python=self.python) as process:
            out, err = process.communicate(timeout=200)
        return process.returncode, out, err


@pytest.fixture
def ray(python: Path, tiny_model: Path) -> Ray:
    """Return the command with Ray and the tiny model."""
    return Ray(python, tiny_model)


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_the_results_are_those_of_one_process(
    ray: Ray, batch: Batch, folder: Path, tmp_path: Path, source: str
) -> None:
    path = folder
    if source == "archive":
        path = tmp_path / "all.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for one in sorted(folder.iterdir()):
                archive.add(one, one.name)
    formats = ("--format", "jsonl", "--format", "drawn")

    status, out, err = ray(path, tmp_path / "ray", "--workers", "2", "--json", *formats)
    assert status == 0, err
    assert batch(folder, tmp_path / "local", *formats) == 0

    assert read_results(tmp_path / "ray") == read_results(tmp_path / "local")
    assert read_errors(tmp_path / "ray") == read_errors(tmp_path / "local")
    assert names_in(tmp_path / "ray") == names_in(tmp_path / "local")
    assert json.loads(out)["engines"] == ["ray, openvino fp32"]
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_goes_on(
    ray: Ray, batch: Batch, folder: Path, tmp_path: Path, number: int
) -> None:
    """Through Ray, or in one process: it is the same job."""
    output = tmp_path / "out"
    arguments = ("--input", folder, "--output", output, *ray.options, "--shard-size", "20")
    with started(*arguments, "--exact", python=ray.python) as process:
        wait_until((output / "results-00002.jsonl").exists, "three shards", 200)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=200)

    assert process.returncode == (TRY_AGAIN if number == signal.SIGTERM else -number), err
    done = json.loads((output / "checkpoint.json").read_text())["done"]
    assert 40 <= done < COUNT
    if number == signal.SIGTERM:
        assert batch(folder, output, "--exact") == 0
    else:
        status, _, err = ray(folder, output, "--exact", "--shard-size", "20")
        assert status == 0, err
    assert len(read_results(output)) == COUNT - len(BAD)
    assert len(read_errors(output)) == len(BAD)
    engines = ["ray, openvino fp32", *(["openvino fp32"] if number == signal.SIGTERM else [])]
    assert read_manifest(output)["engines"] == engines


def test_a_worker_that_cannot_load_the_model_says_so_in_one_line(
    ray: Ray, folder: Path, tmp_path: Path
) -> None:
    status, out, err = ray(folder, tmp_path / "out", "--precision", "int8")

    assert (status, out) == (1, "")
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith(
        "elastic-yolo: int8 needs a cache folder with the quantised model: run elastic-yolo convert"
    )
    assert len(err.splitlines()) <= 3
