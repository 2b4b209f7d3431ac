"""`elastic-yolo provision`, as a program."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.lock import locked
from tests.support.command import run
from tests.support.models import wanted, write_config, write_source


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "models.yaml", wanted(write_source(tmp_path / "source")))


class Done(NamedTuple):
    """The exit status and the output of a command."""

    returncode: int
    stdout: str
    stderr: str


def provision(store: Path, *arguments: str | Path) -> Done:
    return Done(*run("provision", "--store", store, *arguments))


def test_the_second_run_has_nothing_to_do(tmp_path: Path, config: Path) -> None:
    first = provision(tmp_path / "store", "--config", config)
    second = provision(tmp_path / "store", "--config", config)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith("tiny 1: published, ")
    assert first.stdout.endswith(" bytes in 3 requests, 3 new files\n")
    assert second.stdout == "tiny 1: present, 0 bytes in 0 requests, 0 new files\n"


def test_json_has_the_report_of_a_run(tmp_path: Path, config: Path) -> None:
    done = provision(tmp_path / "store", "--config", config, "--json")

    (report,) = json.loads(done.stdout)["models"]
    assert (report["name"], report["outcome"], report["files"]) == ("tiny", "published", 3)


def test_permanent_and_temporary_failures_have_other_exit_statuses(tmp_path: Path) -> None:
    missing = write_config(tmp_path / "a.yaml", wanted(tmp_path / "nowhere"))
    done = provision(tmp_path / "store", "--config", missing)

    assert done.returncode == 1
    assert "tiny 1: failed: " in done.stdout
    assert "No such file" in done.stdout

    with locked(Layout(tmp_path / "store")):
        done = provision(tmp_path / "store", "--config", missing)

    assert done.returncode == TRY_AGAIN
    assert "another process is writing" in done.stderr


def test_wrong_usage_and_an_invalid_config_differ(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("models: 3")

    assert provision(tmp_path / "store").returncode == 2
    done = provision(tmp_path / "store", "--config", tmp_path / "models.yaml")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "models" in done.stderr


def test_a_store_is_listed_verified_rolled_back_and_collected(tmp_path: Path, config: Path) -> None:
    store = tmp_path / "store"
    provision(store, "--config", config)
    wider = write_source(tmp_path / "wider", cells=2)
    second = write_config(tmp_path / "second.yaml", wanted(wider, version="2"))
    provision(store, "--config", second)

    listed = provision(store, "list").stdout.splitlines()
    assert [line.split()[1].partition("-")[0] for line in listed] == ["1", "2"]
    assert listed[1].endswith("stable")
    assert not listed[0].endswith("stable")

    assert provision(store, "verify").stdout == "4 files, 0 wrong\n"
    assert provision(store, "rollback", "tiny").stdout.startswith("tiny@stable: 1-")
    assert provision(store, "gc", "--keep", "1").stdout == "removed 0 versions, 0.0 MB\n"


def test_verify_finds_a_changed_file(tmp_path: Path, config: Path) -> None:
    store = tmp_path / "store"
    provision(store, "--config", config)
    blob = next((store / "blobs").iterdir())
    blob.chmod(0o644)
    blob.write_bytes(b"other")

    done = provision(store, "verify")

    assert done.returncode == 1
    assert f"{blob}: wrong digest: found sha256:" in done.stdout
    assert "fetches them again" in done.stdout
    assert provision(store, "--config", config).stdout.startswith("tiny 1: repaired, ")
    assert provision(store, "verify").returncode == 0


def test_a_rollback_lasts_until_it_is_released(tmp_path: Path, config: Path) -> None:
    """The job that runs every ten minutes with the same models.yaml would undo it otherwise."""
    store = tmp_path / "store"
    provision(store, "--config", config)
    wider = write_source(tmp_path / "wider", cells=2)
    second = write_config(tmp_path / "second.yaml", wanted(wider, version="2"))
    provision(store, "--config", second)

    rolled_back = provision(store, "rollback", "tiny").stdout
    listed = provision(store, "list").stdout.splitlines()
    (line, pinned) = provision(store, "--config", second).stdout.splitlines()

    assert re.fullmatch(
        r"tiny@stable: 1-\w{12}, pinned until models.yaml names another version than 2-\w{12}\n",
        rolled_back,
    )
    assert re.search(r" stable \(pinned: rolled back from 2-\w{12} at 2\S+\+00:00\)$", listed[0])
    assert line.startswith("tiny 2: present, ")
    assert re.fullmatch(
        r"tiny@stable: pinned to 1-\w{12} by a rollback at 2\S+; "
        r"models.yaml still names 2-\w{12}",
        pinned,
    )

    released = provision(store, "release", "tiny").stdout
    again = provision(store, "release", "tiny").stdout

    assert released.endswith(", released; the next `provision` switches it\n")
    assert re.search(r"tiny@stable is not pinned: 1-\w{12}\n$", again)
    assert provision(store, "--config", second).stdout.startswith("tiny 2: switched, ")


@pytest.mark.parametrize("action", ["rollback", "release"])
def test_rollback_and_release_need_a_model_that_exists(
    tmp_path: Path, config: Path, action: str
) -> None:
    provision(tmp_path / "store", "--config", config)

    assert provision(tmp_path / "store", action).returncode == 2
    done = provision(tmp_path / "store", action, "tiny", "--channel", "next")
    assert done.returncode == 1
    assert "tiny@next: no such model or channel in this store" in done.stderr


@pytest.mark.parametrize("action", ["list", "verify", "gc"])
def test_a_folder_that_is_no_store_is_an_error(tmp_path: Path, action: str) -> None:
    """A nightly `verify` of a misspelt path passed, and `gc` made the folder."""
    missing, other = provision(tmp_path / "none", action), provision(tmp_path, action)

    assert (missing.returncode, other.returncode) == (1, 1)
    assert "none: no such folder" in missing.stderr
    assert "is not a model store" in other.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_writes_nothing(tmp_path: Path, config: Path) -> None:
    done = provision(tmp_path / "store", "--config", config, "--dry-run")

    assert (done.returncode, done.stdout) == (0, "tiny 1: would publish\n")
    assert not (tmp_path / "store").exists()


def test_the_example_fills_a_store(tmp_path: Path) -> None:
    done = provision(tmp_path / "store", "--config", ROOT / "docs" / "models.example.yaml")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("demo 1: published, ")


def test_a_pull_can_remove_older_versions(tmp_path: Path) -> None:
    """But never a version that a channel has or had, whatever --keep is."""
    store = tmp_path / "store"
    for version in range(1, 5):
        model = wanted(write_source(tmp_path / str(version), version), version=str(version))
        config = write_config(tmp_path / "models.yaml", model)
        assert provision(store, "--config", config).returncode == 0
    for channel in (store / "models" / "tiny" / "channels").iterdir():
        os.utime(channel, (0, 0))  # as if the last switch were long ago

    done = provision(store, "--config", config, "--keep", "1")
    left = json.loads(provision(store, "list", "--json").stdout)[0]["versions"]

    assert done.returncode == 0
    assert "removed 2 versions, " in done.stdout
    assert [version["version"] for version in left] == ["3", "4"]
