"""Tests of JSON lines as a sink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.stream.addresses import open_sink
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.message import Message, Result
from elastic_yolo.stream.sinks.files import FileSink
from tests.stream.seen import MODEL, seen

_TO_STDOUT = """
from elastic_yolo.stream.errors import Refused
from elastic_yolo.stream.sinks.files import StdoutSink
from tests.stream.seen import seen
sink = StdoutSink()
try:
    for at in range(100_000):
        sink.write([seen(at, "person")])
except Refused as error:
    raise SystemExit(f"refused: {error}")
"""


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, *results: Result) -> None:
    sink = FileSink(str(path))
    sink.write(results)
    sink.close()


def test_results_are_appended_one_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    first, second, third = (seen(at, "person dog") for at in range(3))
    write(path, first)
    write(path, second, third)
    assert lines(path) == [json.loads(json.dumps(one.to_json())) for one in (first, second, third)]


def test_a_line_that_was_torn_damages_no_other_one(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    write(path, seen(1))
    with path.open("ab") as file:
        file.write(b'{"id": "torn')
    write(path, seen(2))
    whole, torn, after = path.read_text().splitlines()
    assert torn == '{"id": "torn'
    assert json.loads(whole)["id"] == seen(1).id
    assert json.loads(after)["id"] == seen(2).id


def test_a_file_that_was_renamed_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    sink = FileSink(str(path))
    sink.write([seen(1)])
    path.rename(tmp_path / "found.jsonl.1")
    sink.write([seen(2)])
    path.unlink()
    sink.write([seen(3)])
    sink.close()
    assert [one["id"] for one in lines(tmp_path / "found.jsonl.1")] == [seen(1).id]
    assert [one["id"] for one in lines(path)] == [seen(3).id]


def test_odd_file_names_are_valid_json(tmp_path: Path) -> None:
    message = Message("bäume/ü\udcff", "a\nb", b"picture", added_at=1.0)
    write(tmp_path / "found.jsonl", Result("id", message, (), (64, 48), MODEL))
    (found,) = lines(tmp_path / "found.jsonl")
    assert found["source"] == "bäume/ü\udcff"
    assert found["message"] == "a\nb"


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "found.jsonl"
    # Writing to this device fails as on a full disk.
    path.symlink_to("/dev/full")
    sink = FileSink(str(path))
    with pytest.raises(Unavailable, match="is full"):
        sink.write([seen(1)])
    path.unlink()
    sink.write([seen(1)])
    sink.close()
    assert len(lines(path)) == 1


@pytest.mark.parametrize("name", ["found.json", "none/found.jsonl", "folder.jsonl"])
def test_a_path_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(BadAddress, match=name.split("/", maxsplit=1)[0]):
        FileSink(str(tmp_path / name))


def test_each_write_to_stdout_can_be_read_at_once_and_its_end_is_noticed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _TO_STDOUT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert json.loads(process.stdout.readline())["id"] == seen(0, "person").id
        process.stdout.close()
        assert process.stderr.read() == "refused: stdout: the program that reads it has ended\n"
        assert process.wait(60) == 1


def test_a_folder_that_was_removed_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    sink = FileSink(str(folder / "found.jsonl"))
    (folder / "found.jsonl").unlink()
    folder.rmdir()
    with pytest.raises(Unavailable):
        sink.write([seen(1)])
    folder.mkdir()
    sink.write([seen(1)])
    sink.close()
    assert len(lines(folder / "found.jsonl")) == 1


def test_a_read_only_place_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    path = tmp_path / "found.jsonl"
    path.touch(0o444)
    with pytest.raises((BadAddress, Refused)):
        write(path, seen(1))


def test_a_folder_gets_a_file_for_each_result_and_one_that_comes_again_replaces_it(
    tmp_path: Path,
) -> None:
    first, second = seen(1, "person"), seen(2, "cat")
    sink = open_sink(str(tmp_path), 1.0)

    sink.write([first])
    sink.write([first, second])
    sink.close()

    assert {path.name: lines(path) for path in tmp_path.iterdir()} == {
        f"{one.id}.json": [one.to_json()] for one in (first, second)
    }


def test_a_folder_that_is_gone_is_waited_for_and_one_that_never_was_is_an_error(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    sink = open_sink(str(folder), 1.0)
    folder.rmdir()

    with pytest.raises((Unavailable, Refused), match="results"):
        sink.write([seen(1, "person")])
    with pytest.raises(BadAddress, match=r"expected a file whose name ends in .jsonl"):
        open_sink(str(folder), 1.0)
