"""The artefact cache of a model, and how it handles changed and damaged files."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from elastic_yolo.detector.artefacts import ModelCache, write_atomic
from elastic_yolo.detector.errors import ArtefactDamaged

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def model_cache(tmp_path: Path) -> ModelCache:
    return ModelCache(tmp_path / "cache", DIGEST)


def test_a_published_artefact_is_loaded_with_its_facts(model_cache: ModelCache) -> None:
    published = model_cache.publish("net", "recipe 1", {"model.xml": b"<net/>"}, {"pictures": 16})

    found = model_cache.load("net", "recipe 1")

    assert found == published
    assert found is not None
    assert found.files["model.xml"].read_bytes() == b"<net/>"
    assert found.facts == {"pictures": 16}


def test_an_artefact_of_another_recipe_counts_as_missing(model_cache: ModelCache) -> None:
    model_cache.publish("net", "recipe 1", {"model.xml": b"<net/>"})

    assert model_cache.load("net", "recipe 2") is None
    assert model_cache.load("other") is None


def test_models_have_separate_folders(model_cache: ModelCache, tmp_path: Path) -> None:
    model_cache.publish("net", "recipe 1", {"model.xml": b"<net/>"})

    assert ModelCache(tmp_path / "cache", "sha256:" + "cd" * 32).load("net") is None


def test_a_newer_artefact_replaces_the_older_one_and_its_files(model_cache: ModelCache) -> None:
    model_cache.publish("net", "a", {"model.bin": b"old"})
    model_cache.publish("net", "b", {"model.bin": b"new"})

    names = sorted(path.suffix for path in model_cache.folder.iterdir())
    found = model_cache.load("net")

    assert names == [".bin", ".json"]
    assert found is not None
    assert (found.recipe, found.files["model.bin"].read_bytes()) == ("b", b"new")


def test_an_open_file_stays_readable_after_a_replacement(model_cache: ModelCache) -> None:
    older = model_cache.publish("net", "a", {"model.bin": b"old"}).files["model.bin"]

    with older.open("rb") as file:
        model_cache.publish("net", "b", {"model.bin": b"new"})

        assert not older.exists()
        assert file.read() == b"old"


def test_artefacts_with_a_common_prefix_do_not_interfere(model_cache: ModelCache) -> None:
    model_cache.publish("net-compiled", "a", {"model.blob": b"1"})
    model_cache.publish("net", "a", {"model.bin": b"2"})
    model_cache.publish("net", "b", {"model.bin": b"3"})

    assert model_cache.load("net-compiled", "a") is not None


@pytest.mark.parametrize("damage", [b"", b"wrong", b"right, and more"])
def test_a_file_that_changed_is_damage(model_cache: ModelCache, damage: bytes) -> None:
    artefact = model_cache.publish("net", "a", {"model.bin": b"right"})
    artefact.files["model.bin"].write_bytes(damage)

    with pytest.raises(ArtefactDamaged, match=r"net\.json: wrong digest of model\.bin"):
        model_cache.load("net", "a")


def test_a_deleted_file_is_damage(model_cache: ModelCache) -> None:
    model_cache.publish("net", "a", {"model.bin": b"right"}).files["model.bin"].unlink()

    with pytest.raises(ArtefactDamaged, match="cannot be used"):
        model_cache.load("net", "a")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"made_from": "a"}', '{"files": 1', "\0", "[" * 100_000,
        '{"made_from": "a", "files": {}, "facts": "abc"}',
    ],
)  # fmt: skip
def test_an_invalid_cache_manifest_is_damaged(model_cache: ModelCache, text: str) -> None:
    model_cache.publish("net", "a", {"model.bin": b"right"})
    (model_cache.folder / "net.json").write_text(text)

    with pytest.raises(ArtefactDamaged, match=r"net\.json cannot be"):
        model_cache.load("net", "a")


def test_try_load_returns_none_for_a_damaged_artefact(
    model_cache: ModelCache, caplog: pytest.LogCaptureFixture
) -> None:
    model_cache.publish("net", "a", {"model.bin": b"right"}).files["model.bin"].write_bytes(
        b"wrong"
    )

    with caplog.at_level(logging.WARNING):
        assert model_cache.try_load("net", "a") is None

    assert "damaged, making it again" in caplog.text


def test_a_cache_that_is_not_writable_is_not_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    model_cache = ModelCache(tmp_path / "file", DIGEST)

    with caplog.at_level(logging.WARNING):
        assert model_cache.try_publish("net", "a", lambda: {"model.bin": b"right"}) is None

    assert f"cannot cache net: {tmp_path}/file is not a folder" in caplog.text
    assert model_cache.try_load("net", "a") is None


def test_a_failed_write_leaves_no_file(model_cache: ModelCache) -> None:
    model_cache.publish("net", "a", {"model.bin": b"right"})

    assert not list(model_cache.folder.glob(".new-*"))
    assert json.loads((model_cache.folder / "net.json").read_text())["made_from"] == "a"


def test_a_failing_artefact_for_the_cache_is_not_an_error(
    model_cache: ModelCache, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, bytes]:
        raise RuntimeError("no room")

    with caplog.at_level(logging.WARNING):
        assert model_cache.try_publish("net", "a", fail) is None

    assert "no room" in caplog.text


def test_files_of_a_killed_writer_are_deleted_after_an_hour(model_cache: ModelCache) -> None:
    model_cache.publish("net", "a", {"model.bin": b"right"})
    old, new = model_cache.folder / ".new-old", model_cache.folder / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)

    model_cache.publish("net", "b", {"model.bin": b"right"})

    assert (old.exists(), new.exists()) == (False, True)


def test_cached_files_are_readable_whatever_the_umask(model_cache: ModelCache) -> None:
    before = os.umask(0o077)
    try:
        artefact = model_cache.publish("net", "a", {"model.bin": b"right"})
    finally:
        os.umask(before)

    paths = (model_cache.folder.parent, model_cache.folder, artefact.files["model.bin"])
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o755, 0o755, 0o644]


def test_a_file_that_cannot_be_put_in_place_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(OSError, match="taken"):
        write_atomic(tmp_path / "taken", b"content")

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
