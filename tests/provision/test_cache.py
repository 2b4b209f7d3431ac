"""The cache that `pull` fills is collected together with the store."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.cli.__main__ import main as elastic_yolo
from elastic_yolo.detector.artefacts import MEASURING_LOCK
from elastic_yolo.detector.model import read_model
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions
from tests.support.models import wanted, write_config, write_source

LONG_AGO = time.time() - 24 * 3600


class Provisioned:
    """A store with versions of one model, and their cache."""

    def __init__(self, folder: Path, name: str = "store") -> None:
        """Provision nothing yet."""
        self.folder = folder
        self.store = folder / name
        self.cache = folder / "cache"

    def run(self, action: str, *arguments: str, cache: bool = True) -> int:
        options = ["--cache", str(self.cache)] if cache else []
        return elastic_yolo(["provision", action, "--store", str(self.store), *options, *arguments])

    def pull(self, number: int, *arguments: str, cache: bool = True) -> None:
        """Publish a version with weights of its own."""
        model = wanted(write_source(self.folder / f"source{number}", number), version=str(number))
        config = write_config(self.folder / f"{number}.yaml", model)
        assert self.run("pull", "--config", str(config), *arguments, cache=cache) == 0

    def end_grace(self) -> None:
        """Let the last switch be long ago: gc keeps all versions for ten minutes after one."""
        for path in Layout(self.store).channels("tiny").iterdir():
            os.utime(path, (LONG_AGO, LONG_AGO))

    def keys(self) -> set[str]:
        """Return the cache keys of the versions that the store has."""
        layout = Layout(self.store)
        return {
            read_model(layout.version("tiny", record.id)).cache_key.removeprefix("sha256:")
            for record in list_versions(layout, "tiny")
        }

    def cached(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}


@pytest.fixture
def one(tmp_path: Path) -> Provisioned:
    """Return a store with four versions, all of them prepared."""
    found = Provisioned(tmp_path)
    for number in range(1, 5):
        found.pull(number)
    found.end_grace()
    return found


def collected(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_cache_keeps_what_the_store_keeps(
    one: Provisioned, capsys: pytest.CaptureFixture[str]
) -> None:
    before = one.cached()
    assert before == one.keys()
    capsys.readouterr()

    assert one.run("gc", "--keep", "1", "--json") == 0

    found = collected(capsys)
    assert len(found["versions"]) == 2
    assert one.cached() == one.keys()
    assert set(found["cache"]["folders"]) == before - one.keys()
    assert found["cache"]["bytes"] > 1000


def test_pull_with_keep_collects_the_cache_as_well(one: Provisioned) -> None:
    one.pull(5, "--keep", "1")
    one.end_grace()
    one.pull(5, "--keep", "1")

    assert len(one.cached()) == 2
    assert one.cached() == one.keys()


def test_a_dry_run_names_the_folders_and_removes_nothing(
    one: Provisioned, capsys: pytest.CaptureFixture[str]
) -> None:
    before = one.cached()
    capsys.readouterr()
    one.run("gc", "--keep", "1", "--dry-run", "--json")
    would = collected(capsys)["cache"]
    assert one.cached() == before
    one.run("gc", "--keep", "1", "--json")

    assert would == collected(capsys)["cache"]


def test_folders_of_versions_that_went_earlier_are_removed(one: Provisioned) -> None:
    """By a run without --cache, or by one that was killed before it came to the cache."""
    one.run("gc", "--keep", "1", cache=False)
    assert len(one.cached()) == 4

    one.run("gc", "--keep", "1")

    assert one.cached() == one.keys()


def test_what_the_provisioner_did_not_make_stays(one: Provisioned) -> None:
    """Services with a plain model folder share the cache, and someone may name a wrong folder."""
    for name in ("a" * 64, "notes", "b" * 63):
        (one.cache / name).mkdir()
    (one.cache / ("c" * 64)).write_text("a file")

    one.run("gc", "--keep", "1")

    assert one.cached() - one.keys() == {"a" * 64, "notes", "b" * 63, "c" * 64}


def test_a_cache_of_an_earlier_release_is_collected_with_its_versions(one: Provisioned) -> None:
    for folder in one.cache.iterdir():
        (folder / ".stores").unlink()

    one.run("gc", "--keep", "1")

    assert one.cached() == one.keys()


def test_a_folder_that_another_store_needs_stays(one: Provisioned) -> None:
    other = Provisioned(one.folder, "other")
    other.pull(1)
    [shared] = other.keys()

    one.run("gc", "--keep", "1")
    assert one.cached() == one.keys() | {shared}

    other.pull(2)
    other.pull(3)
    other.end_grace()
    other.run("gc", "--keep", "1")
    assert shared not in one.cached()


def test_a_folder_that_a_service_measures_into_stays_for_the_next_run(one: Provisioned) -> None:
    before = one.cached()
    for name in before:
        (one.cache / name / MEASURING_LOCK).touch()
    measured = min(before - _newest(one))
    with (one.cache / measured / MEASURING_LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one.run("gc", "--keep", "1")
        assert one.cached() == one.keys() | {measured}
    one.run("gc", "--keep", "1")

    assert one.cached() == one.keys()


def _newest(one: Provisioned) -> set[str]:
    """Return the keys of the current and the previous version."""
    layout = Layout(one.store)
    records = list_versions(layout, "tiny")[-2:]
    return {
        read_model(layout.version("tiny", record.id)).cache_key.removeprefix("sha256:")
        for record in records
    }


def test_only_old_unfinished_files_of_killed_processes_are_removed(one: Provisioned) -> None:
    kept = one.cache / min(_newest(one))
    for folder in (kept, one.cache):
        for age in ("old", "new"):
            (folder / f".new-{age}").write_bytes(b"half")
            (folder / f".openvino-{age}").mkdir()
            (folder / f".openvino-{age}" / "model.bin").write_bytes(b"half")
        for path in (".openvino-old/model.bin", ".new-old", ".openvino-old"):
            os.utime(folder / path, (LONG_AGO, LONG_AGO))

    one.run("gc", "--keep", "1")

    for folder in (kept, one.cache):
        left = {path.name for path in folder.iterdir() if path.name.startswith((".new", ".open"))}
        assert left == {".new-new", ".openvino-new"}
