"""Kill the provisioner before every step and at random times: readers see one complete version."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.detector.model import read_model
from elastic_yolo.provision.config import read_models_config
from elastic_yolo.provision.run import Job
from elastic_yolo.store.errors import NotInStore
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.lock import locked
from elastic_yolo.store.reader import resolve
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer, verify_blob
from tests.support.killed_steps import count_steps
from tests.support.models import QUIET, wanted, write_config, write_source
from tests.support.pictures import encode, plain

# The system calls that change the store.
STEPS = ("fsync", "replace", "rename", "link", "mkdir", "unlink")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload([__name__, "elastic_yolo.detector.engines.openvino"])


def pull(
    store: Path, config: Path, killed_at: int | None, steps: Any, cache: Path | None = None
) -> None:
    """Provision in this process and exit; with `killed_at`, SIGKILL itself before that step."""
    count_steps(STEPS, killed_at, steps)
    layout = Layout(store)
    with locked(layout):
        job = Job(layout, QUIET, threads=1, cache=cache)
        reports = list(job.provision(read_models_config(config).models))
    os._exit(0 if reports[0].error is None else 1)


def run(
    store: Path, config: Path, killed_at: int | None = None, cache: Path | None = None
) -> tuple[int, int]:
    """Provision in a child process; returns its exit code and the number of steps."""
    steps = processes.Value("i", 0)
    process = processes.Process(target=pull, args=(store, config, killed_at, steps, cache))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, steps.value


def seconds_for(store: Path, config: Path) -> float:
    """Return the duration of a complete run in seconds."""
    started = time.monotonic()
    assert run(store, config)[0] == 0
    return time.monotonic() - started


def visible_version(store: Path) -> str | None:
    """Return the version that a reader resolves, with every byte checked, or None."""
    try:
        found = resolve(Reference(store, "tiny", "stable"))
    except NotInStore:
        return None
    names = {path.name for path in found.folder.iterdir()}
    assert names == set(found.record.files)
    for name, file in found.record.files.items():
        verify_blob(Layout(store), file.digest)
        assert (found.folder / name).stat().st_size == file.size
    return found.record.version


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return models.yaml files for versions 0 to 7, which all have other content."""
    folder = tmp_path_factory.mktemp("configs")
    return [
        write_config(
            folder / f"{number}.yaml",
            wanted(write_source(folder / str(number), number + 1), version=str(number)),
        )
        for number in range(8)
    ]


@pytest.mark.parametrize("replaced", [False, True], ids=["first version", "next version"])
def test_a_kill_before_any_step_leaves_the_old_or_the_new_version(
    tmp_path: Path, configs: list[Path], replaced: bool
) -> None:
    old = None
    _, steps = run(tmp_path / "whole", configs[0])
    assert steps > 20
    for step in range(1, steps + 1):
        store = tmp_path / str(step)
        if replaced:
            assert run(store, configs[0])[0] == 0
            old = "0"
        status, _ = run(store, configs[1], killed_at=step)

        assert status in (-signal.SIGKILL, 0)
        assert visible_version(store) in (old, "1")
        assert run(store, configs[1])[0] == 0
        assert visible_version(store) == "1"


def roll_back(store: Path, killed_at: int | None, steps: Any) -> None:
    """Roll back in this process and exit; with `killed_at`, SIGKILL itself before that step."""
    count_steps(STEPS, killed_at, steps)
    layout = Layout(store)
    with locked(layout):
        Writer(layout).roll_back("tiny", "stable")
    os._exit(0)


def test_a_kill_before_any_step_of_a_rollback_leaves_neither_or_both_of_switch_and_pin(
    tmp_path: Path, configs: list[Path]
) -> None:
    steps = processes.Value("i", 0)
    outcomes = set()
    for killed_at in range(1, 10):
        store = tmp_path / str(killed_at)
        assert [run(store, config)[0] for config in configs[:2]] == [0, 0]
        process = processes.Process(target=roll_back, args=(store, killed_at, steps))
        process.start()
        process.join()

        before = visible_version(store)
        outcomes.add((process.exitcode, before))
        assert run(store, configs[1])[0] == 0
        assert visible_version(store) == before
        assert run(store, configs[2])[0] == 0
        assert visible_version(store) == "2"
    # Killed before the record, killed after it, and not at all.
    assert outcomes == {(-signal.SIGKILL, "1"), (-signal.SIGKILL, "0"), (0, "0")}


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(15, id="some steps", marks=pytest.mark.long),
        pytest.param(1, id="all steps", marks=pytest.mark.long),
    ],
)
def test_a_kill_while_preparing_leaves_the_old_or_the_new_version(
    tmp_path: Path, every: int
) -> None:
    """With pictures and a cache a run writes more, and all of it before the channel is switched."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "grey.png").write_bytes(encode(plain(40, 30)))
    model = wanted(write_source(tmp_path / "source"), version="1", pictures=str(pictures))
    config = write_config(tmp_path / "models.yaml", model)
    _, plain_steps = run(tmp_path / "plain", config)
    _, steps = run(tmp_path / "whole", config, cache=tmp_path / "cache")
    assert steps > plain_steps + 5
    for step in range(1, steps + 1, every):
        store, cache = tmp_path / str(step), tmp_path / f"cache-{step}"
        status, _ = run(store, config, step, cache)

        assert status in (-signal.SIGKILL, 0)
        before = visible_version(store)
        assert before in (None, "1")
        assert run(store, config, None, cache)[0] == 0
        assert visible_version(store) == "1"
        assert read_model(resolve(Reference(store, "tiny", "stable")).folder).labels
        assert list(cache.glob("*/accuracy.json"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [30, pytest.param(500, marks=pytest.mark.long)])
def test_a_kill_at_any_time_leaves_the_old_or_the_new_version(
    tmp_path: Path, configs: list[Path], kills: int
) -> None:
    store = tmp_path / "store"
    chance = random.Random(5)  # noqa: S311
    usual_s = min(seconds_for(tmp_path / f"other{number}", configs[0]) for number in range(4))
    old: str | None = None
    killed = 0
    for number in range(kills):
        # Always a new version, so that every run has all of its steps to take.
        source = configs[number % len(configs)].parent / str(number % len(configs))
        model = wanted(source, version=f"run-{number}")
        config = write_config(tmp_path / "models.yaml", model)
        process = processes.Process(target=pull, args=(store, config, None, None))
        process.start()
        process.join(chance.uniform(0, usual_s))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL

        new = f"run-{number}"
        now = visible_version(store)
        assert now in (old, new)
        if chance.random() < 0.2:
            assert run(store, config)[0] == 0
            now = visible_version(store)
            assert now == new
        old = now
    assert killed > kills / 4, killed


def test_a_second_writer_fails_and_changes_nothing(tmp_path: Path, configs: list[Path]) -> None:
    store = tmp_path / "store"
    with locked(Layout(store)):
        status, _ = run(store, configs[0])

    assert status == 1
    assert visible_version(store) is None
    assert run(store, configs[0])[0] == 0
