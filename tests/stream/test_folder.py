"""Tests of a folder that is being filled as a source."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.stream.errors import BadAddress
from elastic_yolo.stream.folder.source import FolderSource
from elastic_yolo.stream.folder.waiting import WaitingPictures
from elastic_yolo.stream.message import Message
from tests.support.clock import Clock
from tests.support.waiting import wait_until


@contextmanager
def consuming(folder: Path, claim_after_s: float = 60) -> Iterator[FolderSource]:
    source = FolderSource(str(folder), claim_after_s)
    try:
        yield source
    finally:
        source.close()


def receive(source: FolderSource, number: int) -> list[Message]:
    """Return so many messages."""
    messages: list[Message] = []

    def received() -> bool:
        messages.extend(source.receive(number - len(messages), 0.1))
        return len(messages) == number

    wait_until(received, f"{number} pictures are delivered")
    return messages


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_pictures_are_delivered_and_moved(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PNG", "ü\udcff.webp"):
        (tmp_path / name).write_bytes(name.encode(errors="surrogateescape"))
    with consuming(tmp_path) as source:
        assert source.lag() == 3
        messages = receive(source, 3)
        assert files(tmp_path) == []
        assert source.lag() == 3
        source.acknowledge(messages[:2])
        source.reject(messages[2], "no picture")
        assert source.lag() == 0
    assert len(files(tmp_path / "done")) == 2
    picture, reason = files(tmp_path / "failed")
    assert reason == f"{picture}.reason.txt"
    assert (tmp_path / "failed" / reason).read_text() == "no picture\n"
    for message in messages:
        name, _, modified = message.id.partition("@")
        assert int(modified) == int(message.added_at * 1000)
        name.encode()
        assert message.deliveries == 1


def test_what_is_no_finished_picture_stays(tmp_path: Path) -> None:
    names = [".hidden.jpg", "a.jpg.part", "b.jpg.tmp", "c.txt", "x" * 210 + ".jpg"]
    for name in names:
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "c.txt")
    (tmp_path / "last.jpg").write_bytes(b"content")
    with consuming(tmp_path) as source:
        (message,) = receive(source, 1)
        assert message.id.startswith("last.jpg@")
        assert source.receive(8, 1.5) == []
    assert files(tmp_path) == sorted([*names, "link.jpg"])


def test_a_picture_is_finished_when_it_has_not_changed_for_a_second(tmp_path: Path) -> None:
    clock = Clock()
    waiting = WaitingPictures(tmp_path, clock)
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"half")
    assert waiting.finished() == []
    clock.now += 0.9
    assert waiting.finished() == []
    picture.write_bytes(b"half, and the rest")
    clock.now += 0.9
    assert waiting.finished() == []
    clock.now += 1
    assert waiting.finished() == ["a.jpg"]
    assert waiting.is_unchanged("a.jpg")
    picture.write_bytes(b"half, the rest, and more")
    assert not waiting.is_unchanged("a.jpg")


def test_an_empty_file_is_waited_for_longer(tmp_path: Path) -> None:
    clock = Clock()
    waiting = WaitingPictures(tmp_path, clock)
    (tmp_path / "a.jpg").touch()
    assert waiting.finished() == []
    clock.now += 59
    assert waiting.finished() == []
    clock.now += 2
    assert waiting.finished() == ["a.jpg"]


def test_a_name_that_is_used_again_replaces_nothing(tmp_path: Path) -> None:
    contents = {f"picture {number}".encode() for number in range(4)}
    ids = set()
    with consuming(tmp_path) as source:
        for content in sorted(contents):
            (tmp_path / "new").write_bytes(content)
            os.utime(tmp_path / "new", (1772366400, 1772366400))
            (tmp_path / "new").rename(tmp_path / "snapshot.jpg")
            (message,) = receive(source, 1)
            ids.add(message.id)
            source.acknowledge([message])
    assert {path.read_bytes() for path in (tmp_path / "done").iterdir()} == contents
    assert files(tmp_path / "done") == [
        "snapshot.1772366400000-2.jpg",
        "snapshot.1772366400000-3.jpg",
        "snapshot.1772366400000.jpg",
        "snapshot.jpg",
    ]


def test_pictures_of_the_same_name_can_be_worked_on_at_once(tmp_path: Path) -> None:
    with consuming(tmp_path) as source:
        messages = []
        for content in (b"first", b"second"):
            (tmp_path / "snapshot.jpg").write_bytes(content)
            messages += receive(source, 1)
        source.acknowledge(messages)
    assert {path.read_bytes() for path in (tmp_path / "done").iterdir()} == {b"first", b"second"}


def test_a_source_that_is_closed_leaves_its_pictures_as_if_they_had_not_been_delivered(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    with consuming(tmp_path) as source:
        (first,) = receive(source, 1)
    with consuming(tmp_path) as source:
        (second,) = receive(source, 1)
        assert second.id == first.id
        assert second.deliveries == 1
        source.acknowledge([second])
        source.receive(1, 0)
    assert files(tmp_path / "done") == ["a.jpg"]
    # No trace of consumers that ended.
    assert list((tmp_path / ".claimed").iterdir()) == []


def test_each_picture_is_delivered_to_one_of_several_consumers(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number:02}.jpg").write_bytes(b"content")
    with consuming(tmp_path) as one, consuming(tmp_path) as other:
        ids: list[str] = []

        def consumed() -> bool:
            for source in (one, other):
                messages = source.receive(4, 0)
                ids.extend(message.id for message in messages)
                source.acknowledge(messages)
            return len(ids) == 60

        wait_until(consumed, "all pictures are delivered")
        assert one.lag() == 0
    assert len(set(ids)) == 60


@contextmanager
def consumer_processes(folder: Path, claim_after_s: float) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.stream.folder_consumer", str(folder)]
    processes = [
        subprocess.Popen(
            [*command, str(claim_after_s)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


@pytest.mark.long
def test_of_three_consumers_one_is_killed_one_is_paused_and_no_picture_is_lost(
    tmp_path: Path,
) -> None:
    names = [f"{number:03}.jpg" for number in range(300)] + ["stop-1.jpg", "stop-2.jpg"]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    with consumer_processes(tmp_path, 2) as processes:

        def stopped() -> list[subprocess.Popen[str]]:
            return [one for one in processes if _state(one) == "T"]

        # Two of the three, or one with both.
        wait_until(lambda: bool(stopped()), "a consumer stops", 60)
        stopped()[0].kill()
        wait_until(lambda: len(files(tmp_path / "done")) == 302, "all pictures are done", 60)
        # One that was taken for dead goes on.
        for process in stopped():
            process.send_signal(signal.SIGCONT)
        (tmp_path / "last.jpg").write_bytes(b"last.jpg")
        wait_until(lambda: len(files(tmp_path / "done")) == 303, "the last picture is done", 60)
        printed = set[str]()
        for process in processes:
            process.kill()
            printed.update(line.split("@")[0] for line in process.communicate()[0].splitlines())
    assert files(tmp_path / "done") == sorted([*names, "last.jpg"])
    assert printed == {*names, "last.jpg"}


def _state(process: subprocess.Popen[str]) -> str:
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return "gone"


def test_a_picture_of_a_dead_consumer_is_delivered_with_one_more_delivery(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    dead = FolderSource(str(tmp_path), 1000, consumer="dead")
    (message,) = receive(dead, 1)
    (tmp_path / ".claimed" / "dead" / ".heartbeat").touch()
    with consuming(tmp_path, claim_after_s=30) as source:
        assert source.receive(1, 1.5) == []
        # Nothing was heard of it for a minute.
        minute_ago = time.time() - 60
        os.utime(tmp_path / ".claimed" / "dead" / ".heartbeat", (minute_ago, minute_ago))
    with consuming(tmp_path, claim_after_s=30) as source:
        (again,) = receive(source, 1)
        assert again.id == message.id
        assert again.deliveries == 2
    # The one that was taken for dead has nothing to move any more.
    dead.acknowledge([message])
    dead.reject(message, "whatever")
    assert files(tmp_path / "done") == files(tmp_path / "failed") == []
    dead.close()


def test_a_picture_that_is_too_large_comes_without_its_content(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    (tmp_path / "small.jpg").write_bytes(b"content")
    with consuming(tmp_path) as source:
        large, small = sorted(receive(source, 2), key=lambda message: message.id)
    assert (small.picture, small.fault) == (b"content", None)
    assert large.id.startswith("large.jpg@")
    assert large.picture == b""
    assert isinstance(large.fault, PictureTooLarge)
    assert str(large.fault) == "it has more than 67,108,864 bytes"


def test_done_and_failed_can_be_emptied_or_removed_at_any_time(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content")
    with consuming(tmp_path) as source:
        messages = receive(source, 1)
        shutil.rmtree(tmp_path / "done")
        source.acknowledge(messages)
    assert files(tmp_path / "done") == ["a.jpg"]


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="expected a folder"):
        FolderSource(str(tmp_path / "none"))
