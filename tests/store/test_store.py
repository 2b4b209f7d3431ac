"""Reading and writing a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.store.errors import BadReference, NotInStore, StoreBusy, StoreDamaged
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.lock import locked
from elastic_yolo.store.reader import list_channels, list_models, list_versions, resolve
from elastic_yolo.store.reference import Reference, parse_reference
from elastic_yolo.store.writer import Writer, verify_blob
from tests.support.publishing import publish

CFG = {"yolo.cfg": b"[net]", "yolo.names": b"cat"}


def files_below(root: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a folder with inode and modification time."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store:/models/yolov3@stable", Reference(Path("/models"), "yolov3", "stable")),
        ("store:/models/yolov3", Reference(Path("/models"), "yolov3", "stable")),
        ("store:/a/b/c-1.2@next", Reference(Path("/a/b"), "c-1.2", "next")),
        ("store:/yolov3", Reference(Path("/"), "yolov3", "stable")),
        ("store:here/yolov3@x", Reference(Path("here"), "yolov3", "x")),
    ],
)
def test_a_reference_names_store_model_and_channel(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["/models/yolov3", "store:yolov3", "store:/models/", "store:/m/a b", "store:/m/a@.."]
)
def test_an_invalid_store_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReference):
        parse_reference(text)


def test_a_published_version_is_a_model_folder(tmp_path: Path) -> None:
    record = publish(tmp_path, CFG)

    found = resolve(Reference(tmp_path, "yolo", "stable"))

    assert found.record == record
    assert {path.name: path.read_bytes() for path in found.folder.iterdir()} == CFG


def test_versions_and_channels_are_listed(tmp_path: Path) -> None:
    first = publish(tmp_path, CFG)
    second = publish(tmp_path, {**CFG, "yolo.cfg": b"[net]\n"}, version="2", channel="next")
    layout = Layout(tmp_path)

    assert list_models(layout) == ["yolo"]
    assert [one.id for one in list_versions(layout, "yolo")] == [first.id, second.id]
    channels = {name: one.id for name, one in list_channels(layout, "yolo").items()}
    assert channels == {"stable": first.id, "next": second.id}


def test_the_same_content_is_stored_once(tmp_path: Path) -> None:
    publish(tmp_path, CFG)
    publish(tmp_path, {**CFG, "yolo.cfg": b"[net]\n"}, version="2")

    assert len(list(Layout(tmp_path).blobs.iterdir())) == 3
    inodes = {path.stat().st_ino for path in tmp_path.rglob("yolo.names")}
    assert len(inodes) == 1


def test_publishing_the_same_version_writes_nothing(tmp_path: Path) -> None:
    publish(tmp_path, CFG)
    before = files_below(tmp_path)

    publish(tmp_path, CFG)

    assert files_below(tmp_path) == before


def test_other_content_with_the_same_version_gets_another_id(tmp_path: Path) -> None:
    first = publish(tmp_path, CFG)
    second = publish(tmp_path, {**CFG, "yolo.cfg": b"[net]\n"})

    assert first.version == second.version
    assert first.id != second.id
    assert resolve(Reference(tmp_path, "yolo", "stable")).record == second


def test_a_model_that_fails_its_check_is_not_published(tmp_path: Path) -> None:
    first = publish(tmp_path, CFG)

    def refuse(folder: Path) -> None:
        assert sorted(path.name for path in folder.iterdir()) == ["yolo.cfg", "yolo.names"]
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        publish(tmp_path, {**CFG, "yolo.cfg": b"bad"}, version="2", check=refuse)

    layout = Layout(tmp_path)
    assert [one.id for one in list_versions(layout, "yolo")] == [first.id]
    assert resolve(Reference(tmp_path, "yolo", "stable")).record == first
    assert sorted(path.name for path in layout.versions("yolo").iterdir()) == [
        first.id,
        f"{first.id}.json",
    ]


def test_a_version_folder_without_a_record_is_replaced(tmp_path: Path) -> None:
    record = publish(tmp_path, CFG)
    layout = Layout(tmp_path)
    layout.version_record("yolo", record.id).unlink()
    (layout.version("yolo", record.id) / "yolo.cfg").unlink()

    with pytest.raises(NotInStore):
        resolve(Reference(tmp_path, "yolo", "stable"))
    publish(tmp_path, CFG)

    folder = resolve(Reference(tmp_path, "yolo", "stable")).folder
    assert (folder / "yolo.cfg").read_bytes() == b"[net]"


def test_rollback_returns_to_the_previous_version(tmp_path: Path) -> None:
    versions = [
        publish(tmp_path, {**CFG, "yolo.cfg": str(number).encode()}, version=str(number)).id
        for number in range(3)
    ]
    writer = Writer(Layout(tmp_path))

    assert writer.roll_back("yolo", "stable").id == versions[1]
    assert writer.roll_back("yolo", "stable").id == versions[0]
    with pytest.raises(NotInStore, match="no earlier version"):
        writer.roll_back("yolo", "stable")
    assert resolve(Reference(tmp_path, "yolo", "stable")).record.id == versions[0]


def test_rollbacks_pin_a_channel_against_the_version_before_the_first(tmp_path: Path) -> None:
    versions = [
        publish(tmp_path, {**CFG, "yolo.cfg": str(number).encode()}, version=str(number)).id
        for number in range(3)
    ]
    writer = Writer(Layout(tmp_path))

    assert writer.roll_back("yolo", "stable").rolled_back_from == versions[2]
    assert writer.roll_back("yolo", "stable").rolled_back_from == versions[2]


def test_a_rollback_pins_its_own_channel_alone(tmp_path: Path) -> None:
    publish(tmp_path, CFG)
    second = publish(tmp_path, {**CFG, "yolo.cfg": b"2"}, version="2")
    writer = Writer(Layout(tmp_path))
    writer.switch_channel("yolo", "next", second.id)

    writer.roll_back("yolo", "stable")

    channels = list_channels(Layout(tmp_path), "yolo")
    assert channels["stable"].rolled_back_from == second.id
    assert channels["next"].rolled_back_from is None


def test_release_ends_the_pin_and_nothing_else(tmp_path: Path) -> None:
    for number in range(3):
        publish(tmp_path, {**CFG, "yolo.cfg": str(number).encode()}, version=str(number))
    writer = Writer(Layout(tmp_path))
    pinned = writer.roll_back("yolo", "stable")

    assert writer.release("yolo", "stable") == pinned

    released = writer.find_channel("yolo", "stable")
    assert released == pinned.model_copy(update={"rolled_back_from": None})
    assert writer.release("yolo", "stable") == released
    with pytest.raises(NotInStore, match="no such model or channel"):
        writer.release("yolo", "next")


def test_a_switch_ends_the_pin_even_to_the_version_that_is_pinned(tmp_path: Path) -> None:
    for number in range(2):
        publish(tmp_path, {**CFG, "yolo.cfg": str(number).encode()}, version=str(number))
    writer = Writer(Layout(tmp_path))
    pinned = writer.roll_back("yolo", "stable")

    assert not writer.switch_channel("yolo", "stable", pinned.id)

    released = writer.find_channel("yolo", "stable")
    assert released is not None
    assert (released.id, released.rolled_back_from) == (pinned.id, None)


def test_a_channel_of_a_store_from_before_pins_is_not_pinned(tmp_path: Path) -> None:
    record = publish(tmp_path, CFG)
    path = Layout(tmp_path).channel("yolo", "stable")
    path.write_text(json.dumps({"id": record.id, "since": "2025-01-01T00:00:00", "earlier": []}))

    assert list_channels(Layout(tmp_path), "yolo")["stable"].rolled_back_from is None
    assert resolve(Reference(tmp_path, "yolo", "stable")).record == record


def test_a_field_of_a_newer_program_does_not_keep_a_channel_from_being_read(
    tmp_path: Path,
) -> None:
    """As programs from before pins read a pinned channel."""
    record = publish(tmp_path, CFG)
    path = Layout(tmp_path).channel("yolo", "stable")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"newer": {"field": 1}}))

    assert resolve(Reference(tmp_path, "yolo", "stable")).record == record


def test_a_channel_cannot_point_at_a_missing_version(tmp_path: Path) -> None:
    publish(tmp_path, CFG)

    with pytest.raises(NotInStore):
        Writer(Layout(tmp_path)).switch_channel("yolo", "stable", "1-0123456789ab")


def test_verify_detects_a_changed_blob(tmp_path: Path) -> None:
    record = publish(tmp_path, CFG)
    layout = Layout(tmp_path)
    digest = record.files["yolo.cfg"].digest
    verify_blob(layout, digest)
    blob = layout.blob(digest)
    blob.chmod(0o644)
    blob.write_bytes(b"[not]")

    with pytest.raises(StoreDamaged, match="found sha256:"):
        verify_blob(layout, digest)


@pytest.mark.parametrize("content", [b"", b"{", b'{"id": "../x", "since": ""}', b"\xff"])
def test_a_damaged_channel_raises_store_damaged(tmp_path: Path, content: bytes) -> None:
    publish(tmp_path, CFG)
    Layout(tmp_path).channel("yolo", "stable").write_bytes(content)

    with pytest.raises(StoreDamaged):
        resolve(Reference(tmp_path, "yolo", "stable"))


def test_a_name_outside_the_folder_is_refused(tmp_path: Path) -> None:
    record = publish(tmp_path, CFG)
    path = Layout(tmp_path).version_record("yolo", record.id)
    stated = json.loads(path.read_text())
    stated["files"]["../../x"] = stated["files"].pop("yolo.cfg")
    path.write_text(json.dumps(stated))

    with pytest.raises(StoreDamaged):
        resolve(Reference(tmp_path, "yolo", "stable"))


HOLD = """
import sys
from pathlib import Path
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.lock import locked
with locked(Layout(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_releases_the_lock(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreBusy), locked(Layout(tmp_path)):
            pytest.fail("two writers hold the lock")
        holder.kill()

    with locked(Layout(tmp_path)):
        pass


def test_published_files_are_readable_by_all_users(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        publish(tmp_path / "store", CFG)
    finally:
        os.umask(before)

    for path in (tmp_path / "store").rglob("*"):
        assert path.stat().st_mode & 0o444 == 0o444, path
        assert not path.is_dir() or path.stat().st_mode & 0o111 == 0o111, path
