"""Garbage collection: the versions and files that it removes and keeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

from elastic_yolo.store.collect import collect, used_bytes
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.reader import list_versions, resolve
from elastic_yolo.store.reference import Reference
from elastic_yolo.store.writer import Writer
from tests.support.publishing import publish

LONG_AGO = time.time() - 30 * 24 * 3600


def five_versions(root: Path) -> list[str]:
    return [
        publish(
            root,
            {"yolo.cfg": str(number).encode(), "yolo.names": b"cat"},
            version=str(number),
            channel="stable" if number == 2 else None,
        ).id
        for number in range(5)
    ]


def test_gc_keeps_the_newest_and_those_of_channels(tmp_path: Path) -> None:
    versions = five_versions(tmp_path)
    layout = Layout(tmp_path)

    removed = collect(layout, keep=1)

    assert sorted(removed.versions) == [f"yolo/{versions[number]}" for number in (0, 1, 3)]
    assert removed.bytes == 3
    assert [one.id for one in list_versions(layout, "yolo")] == [versions[2], versions[4]]
    # All versions share the .names blob, which is still needed.
    assert len(list(layout.blobs.iterdir())) == 3
    folder = resolve(Reference(tmp_path, "yolo", "stable")).folder
    assert (folder / "yolo.cfg").read_bytes() == b"2"


def test_gc_keeps_the_previous_version_of_a_channel(tmp_path: Path) -> None:
    for number in range(4):
        publish(tmp_path, {"yolo.cfg": str(number).encode()}, version=str(number))
    layout = Layout(tmp_path)
    os.utime(layout.channel("yolo", "stable"), (LONG_AGO, LONG_AGO))

    collect(layout, keep=0)

    assert [one.version for one in list_versions(layout, "yolo")] == ["2", "3"]


def test_gc_keeps_what_a_pinned_channel_has_can_roll_back_to_and_was_rolled_back_from(
    tmp_path: Path,
) -> None:
    """Without the last one, the next run of the provisioner would download it again."""
    for number in range(5):
        publish(tmp_path, {"yolo.cfg": str(number).encode()}, version=str(number))
    layout = Layout(tmp_path)
    Writer(layout).roll_back("yolo", "stable")
    Writer(layout).roll_back("yolo", "stable")
    os.utime(layout.channel("yolo", "stable"), (LONG_AGO, LONG_AGO))

    collect(layout, keep=0)

    assert [one.version for one in list_versions(layout, "yolo")] == ["1", "2", "4"]


def test_earlier_versions_stay_for_ten_minutes_after_a_switch(tmp_path: Path) -> None:
    for number in range(4):
        publish(tmp_path, {"yolo.cfg": str(number).encode()}, version=str(number))

    assert collect(Layout(tmp_path), keep=0).versions == []


def test_a_dry_run_removes_nothing(tmp_path: Path) -> None:
    versions = five_versions(tmp_path)
    layout = Layout(tmp_path)

    would = collect(layout, keep=1, dry_run=True)

    assert len(would.versions) == 3
    assert would.bytes == 3
    assert [one.id for one in list_versions(layout, "yolo")] == versions


def test_gc_removes_files_of_killed_writers(tmp_path: Path) -> None:
    five_versions(tmp_path)
    layout = Layout(tmp_path)
    (layout.versions("yolo") / ".new-abc").mkdir()
    (layout.versions("yolo") / ".new-abc" / "yolo.weights").write_bytes(b"half")
    (layout.channels("yolo") / ".new-def").write_bytes(b"{")
    (layout.incoming / "old").write_bytes(b"half")
    os.utime(layout.incoming / "old", (LONG_AGO, LONG_AGO))
    (layout.incoming / "fresh").write_bytes(b"half")

    collect(layout, keep=5)

    assert not list(tmp_path.rglob(".new-*"))
    assert [path.name for path in layout.incoming.iterdir()] == ["fresh"]


def test_a_file_of_many_versions_is_counted_once(tmp_path: Path) -> None:
    five_versions(tmp_path)

    assert used_bytes(Layout(tmp_path)) == 5 + len(b"cat")
