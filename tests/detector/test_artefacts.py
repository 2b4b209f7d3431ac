"""What is kept of a model, and what happens to it when files change under it."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from elastic_yolo.detector.artefacts import Shelf, write_whole
from elastic_yolo.detector.errors import ArtefactDamaged

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "cache", DIGEST)


def test_what_was_published_is_found_with_its_facts(shelf: Shelf) -> None:
    published = shelf.publish("net", "recipe 1", {"model.xml": b"<net/>"}, {"pictures": 16})

    found = shelf.find("net", "recipe 1")

    assert found == published
    assert found is not None
    assert found.files["model.xml"].read_bytes() == b"<net/>"
    assert found.facts == {"pictures": 16}


def test_what_was_made_from_something_else_counts_as_absent(shelf: Shelf) -> None:
    shelf.publish("net", "recipe 1", {"model.xml": b"<net/>"})

    assert shelf.find("net", "recipe 2") is None
    assert shelf.find("other") is None


def test_another_model_has_a_place_of_its_own(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("net", "recipe 1", {"model.xml": b"<net/>"})

    assert Shelf(tmp_path / "cache", "sha256:" + "cd" * 32).find("net") is None


def test_a_newer_artefact_replaces_the_older_one_and_its_files(shelf: Shelf) -> None:
    shelf.publish("net", "a", {"model.bin": b"old"})
    shelf.publish("net", "b", {"model.bin": b"new"})

    names = sorted(path.suffix for path in shelf.folder.iterdir())
    found = shelf.find("net")

    assert names == [".bin", ".json"]
    assert found is not None
    assert (found.made_from, found.files["model.bin"].read_bytes()) == ("b", b"new")


def test_who_has_an_older_file_open_can_go_on_reading_it(shelf: Shelf) -> None:
    older = shelf.publish("net", "a", {"model.bin": b"old"}).files["model.bin"]

    with older.open("rb") as file:
        shelf.publish("net", "b", {"model.bin": b"new"})

        assert not older.exists()
        assert file.read() == b"old"


def test_artefacts_whose_names_begin_alike_leave_each_other_alone(shelf: Shelf) -> None:
    shelf.publish("net-compiled", "a", {"model.blob": b"1"})
    shelf.publish("net", "a", {"model.bin": b"2"})
    shelf.publish("net", "b", {"model.bin": b"3"})

    assert shelf.find("net-compiled", "a") is not None


@pytest.mark.parametrize("damage", [b"", b"wrong", b"right, and more"])
def test_a_file_that_changed_is_damage(shelf: Shelf, damage: bytes) -> None:
    artefact = shelf.publish("net", "a", {"model.bin": b"right"})
    artefact.files["model.bin"].write_bytes(damage)

    with pytest.raises(ArtefactDamaged, match=r"net\.json: model\.bin is not what was written"):
        shelf.find("net", "a")


def test_a_file_that_is_gone_is_damage(shelf: Shelf) -> None:
    shelf.publish("net", "a", {"model.bin": b"right"}).files["model.bin"].unlink()

    with pytest.raises(ArtefactDamaged, match="cannot be used"):
        shelf.find("net", "a")


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"made_from": "a"}', '{"files": 1', "\0", "[" * 100_000,
        '{"made_from": "a", "files": {}, "facts": "abc"}',
    ],
)  # fmt: skip
def test_a_manifest_that_makes_no_sense_is_damage(shelf: Shelf, text: str) -> None:
    shelf.publish("net", "a", {"model.bin": b"right"})
    (shelf.folder / "net.json").write_text(text)

    with pytest.raises(ArtefactDamaged, match=r"net\.json cannot be"):
        shelf.find("net", "a")


def test_what_can_be_made_anew_is_made_anew_when_it_is_damaged(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.publish("net", "a", {"model.bin": b"right"}).files["model.bin"].write_bytes(b"wrong")

    with caplog.at_level(logging.WARNING):
        assert shelf.recall("net", "a") is None

    assert "made anew" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    shelf = Shelf(tmp_path / "file", DIGEST)

    with caplog.at_level(logging.WARNING):
        assert shelf.keep("net", "a", lambda: {"model.bin": b"right"}) is None

    assert "net is not kept in" in caplog.text
    assert shelf.recall("net", "a") is None


def test_nothing_half_written_is_left_behind(shelf: Shelf) -> None:
    shelf.publish("net", "a", {"model.bin": b"right"})

    assert not list(shelf.folder.glob(".new-*"))
    assert json.loads((shelf.folder / "net.json").read_text())["made_from"] == "a"


def test_what_cannot_be_made_for_the_cache_is_no_failure(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, bytes]:
        raise RuntimeError("no room")

    with caplog.at_level(logging.WARNING):
        assert shelf.keep("net", "a", fail) is None

    assert "no room" in caplog.text


def test_what_a_killed_process_left_is_cleared_after_an_hour(shelf: Shelf) -> None:
    shelf.publish("net", "a", {"model.bin": b"right"})
    old, new = shelf.folder / ".new-old", shelf.folder / ".new-new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000,) * 2)

    shelf.publish("net", "b", {"model.bin": b"right"})

    assert (old.exists(), new.exists()) == (False, True)


def test_others_may_read_what_is_kept_whatever_the_umask(shelf: Shelf) -> None:
    before = os.umask(0o077)
    try:
        artefact = shelf.publish("net", "a", {"model.bin": b"right"})
    finally:
        os.umask(before)

    paths = (shelf.folder.parent, shelf.folder, artefact.files["model.bin"])
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o755, 0o755, 0o644]


def test_a_file_that_cannot_be_put_in_place_leaves_no_trace(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()

    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"content")

    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
