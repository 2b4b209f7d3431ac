"""`elastic-yolo batch`: results, bad pictures, shards, and which runs are the same job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.store.layout import Layout
from elastic_yolo.store.writer import Writer
from tests.batch.conftest import Batch
from tests.support.batches import (
    names_in,
    read_errors,
    read_lines,
    read_manifest,
    read_results,
    started,
    write_pictures,
)
from tests.support.command import run
from tests.support.pictures import encode, plain, png_bomb
from tests.support.publishing import publish
from tests.support.tiny import ANCHOR, SCORE, write_tiny_model
from tests.support.waiting import wait_until

BAD = (3, 17)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return 25 files, of which two are no pictures."""
    return write_pictures(tmp_path / "in", 25, BAD)


def test_the_results_are_those_of_detect(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"

    status, out, err = run("batch", "--input", folder, "--output", output, "--model", tiny_model)
    _, detected, _ = run("detect", folder, "--model", tiny_model, "--json")

    assert status == 0
    expected = {
        Path(one["picture"]).name: one["data"] for one in map(json.loads, detected.splitlines())
    }
    assert read_results(output) == expected
    assert len(expected) == 23
    assert out.splitlines()[1].startswith("25 pictures in ")
    assert out.splitlines()[1].endswith(" pictures/s, 2 bad; 23 detections")
    assert out.splitlines()[2:] == [
        f"  square  23  {'#' * 40}",
        f"jsonl: {output}/results-00000.jsonl",
        f"errors: {output}/errors.jsonl",
        f"manifest: {output}/manifest.json",
    ]
    assert err.splitlines()[0] == f"25 pictures in {folder}"
    assert err.splitlines()[-1].startswith("25 of 25 pictures, ")
    assert err.splitlines()[-1].endswith(", 2 bad")
    assert len(err.splitlines()) == 3


def test_every_value_is_right(batch: Batch, tmp_path: Path) -> None:
    """320x160 in 32x32: ten times as large, below 80 rows of grey."""
    (tmp_path / "a.png").write_bytes(encode(plain(320, 160)))
    output = tmp_path / "out"

    formats = ("--format", "jsonl", "--format", "coco", "--format", "parquet", "--format", "drawn")
    assert batch(tmp_path / "a.png", output, *formats) == 0

    score, box = pytest.approx(SCORE, abs=1e-5), [160, 80, *(10 * n for n in ANCHOR)]
    assert read_lines(output, "results-00000.jsonl") == [
        {
            "picture": "a.png",
            "data": [["square", score, box]],
            "image": {"width": 320, "height": 160},
        }
    ]
    (coco,) = json.loads((output / "results-00000.coco.json").read_text())
    assert coco == {
        "image_id": 1, "category_id": 1, "bbox": [80, 40, 160, 80], "score": score,
        "file_name": "a.png",
    }  # fmt: skip
    detection = {"label": "square", "score": score, "x": 160, "y": 80, "width": 160, "height": 80}
    assert pq.read_table(output / "results-00000.parquet").to_pylist() == [
        {"picture": "a.png", "width": 320, "height": 160, "detections": [detection]}
    ]
    assert (output / "drawn" / "a.png.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    manifest = read_manifest(output)
    del manifest["checkpoint"], manifest["finished_at"], manifest["seconds"]
    assert manifest.pop("pictures_per_s") > 0
    assert manifest.pop("model")["digest"].startswith("sha256:")
    assert manifest == {
        "input": str(tmp_path / "a.png"),
        "pictures": 1, "results": 1, "errors": 0, "detections": 1, "labels": {"square": 1},
        "files": {
            "jsonl": ["results-00000.jsonl"], "coco": ["results-00000.coco.json"],
            "parquet": ["results-00000.parquet"], "drawn": ["drawn"], "errors": ["errors.jsonl"],
        },
        "engines": ["openvino fp32"],
    }  # fmt: skip
    assert names_in(output) == {
        *("results-00000.jsonl", "results-00000.coco.json", "results-00000.parquet"),
        *("drawn/a.png.jpg", "errors.jsonl", "manifest.json"),
    }


def test_bad_pictures_are_listed_and_stop_nothing(batch: Batch, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", 3)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "cut.png").write_bytes((folder / "0000.png").read_bytes()[:60])
    # 90,000 x 90,000 pixels in a few bytes.
    (folder / "bomb.png").write_bytes(png_bomb(90_000, 90_000))
    listed = [
        "in/0000.png",
        "in/gone.png",
        "in",
        *(f"in/{one}" for one in ("empty.jpg", "cut.png", "bomb.png")),
    ]
    (tmp_path / "all.txt").write_text("\n".join(listed))

    assert batch(tmp_path / "all.txt", tmp_path / "out", "--shard-size", "2") == 0

    assert list(read_results(tmp_path / "out")) == ["in/0000.png"]
    errors = read_lines(tmp_path / "out", "errors.jsonl")
    assert [one["picture"] for one in errors] == listed[1:]
    assert [one["type"] for one in errors] == [
        *("FileNotFoundError", "IsADirectoryError", "NotAPicture", "PictureUndecodable"),
        "PictureTooLarge",
    ]
    assert [one["error"] for one in errors[:2]] == ["No such file or directory", "Is a directory"]
    assert "takes 64,800 MB" in errors[4]["error"]
    manifest = read_manifest(tmp_path / "out")
    assert (manifest["pictures"], manifest["results"], manifest["errors"]) == (6, 1, 5)
    assert not list((tmp_path / "out").glob("errors-*"))


def test_too_many_bad_pictures_fail_until_more_are_accepted(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "in", 8, (1, 3, 7))
    output = tmp_path / "out"

    # Also again, when no further picture is bad; and when it is the last one.
    for limit, done in ((0, 2), (0, 2), (1, 4), (2, 8), (2, 8)):
        assert batch(folder, output, "--max-errors", str(limit)) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        bad = "1 bad picture" if limit == 0 else f"{limit + 1} bad pictures"
        assert f"{bad}, more than --max-errors {limit}" in said
        assert not (output / "manifest.json").exists()
        assert len(read_results(output)) == done - limit - 1
    assert batch(folder, output, "--max-errors", "3") == 0
    assert len(read_results(output)) == 5
    assert sorted(read_errors(output)) == ["0001.png", "0003.png", "0007.png"]


def test_the_message_names_the_last_bad_picture(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(folder, tmp_path / "out", "--max-errors", "1") == 1
    assert "the last one 0017.png: not an accepted picture format" in capsys.readouterr().err


def test_a_finished_job_changes_nothing_when_it_runs_again(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    options = ("--json", "--shard-size", "10", "--format", "coco", "--format", "jsonl")
    assert batch(folder, output, *options) == 0
    first = capsys.readouterr()
    before = {name: (output / name).stat().st_mtime_ns for name in names_in(output)}

    # In another order of the formats.
    assert batch(folder, output, *options[:-4], "--format", "jsonl", "--format", "coco") == 0

    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err.startswith("this job is finished already, by openvino ")
    assert {name: (output / name).stat().st_mtime_ns for name in names_in(output)} == before


def test_json_prints_the_manifest_alone(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(folder, tmp_path / "out", "--json") == 0

    printed = json.loads(capsys.readouterr().out)
    manifest = read_manifest(tmp_path / "out")
    del manifest["checkpoint"]
    assert printed == manifest


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--threshold", "0.7"), "threshold: 0.5, now 0.7"),
        (("--iou", "0.1"), "iou: 0.45, now 0.1"),
        (("--exact",), "exact: False, now True"),
        (("--resize", "stretch"), "resize: letterbox, now stretch"),
        (("--format", "coco"), "formats: jsonl, now coco"),
        (
            ("--format", "coco", "--annotations", "truth.json"),
            "digest of --annotations: None, now sha256:",
        ),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_an_output_of_another_job_is_refused(
    batch: Batch, folder: Path, tmp_path: Path, options: tuple[str, ...], difference: str,
    finished: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    images = [{"id": n, "file_name": path.name} for n, path in enumerate(folder.iterdir())]
    categories = [{"id": n, "name": name} for n, name in enumerate(("square", "circle"))]
    Path("truth.json").write_text(json.dumps({"images": images, "categories": categories}))
    limit = () if finished else ("--max-errors", "1")
    assert batch(folder, "out", *limit) == (0 if finished else 1)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names_in(tmp_path / "out")}

    assert batch(folder, "out", *options) == 1

    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("elastic-yolo: out: has results of another job: ")
    assert difference in said
    assert said.endswith(": choose another --output, or delete the folder")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in before} == before


def test_another_input_or_model_is_another_job(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert batch(folder, output) == 0
    other = write_tiny_model(tmp_path / "other", width=64)

    assert batch(folder, output, "--model", other) == 1
    assert "another job: digest of the model: sha256:" in capsys.readouterr().err
    (folder / "0001.png").rename(folder / "0001.bmp")
    assert batch(folder, output) == 1
    assert "another job: digest of the names in the input: sha256:" in capsys.readouterr().err
    (folder / "0001.bmp").unlink()
    assert batch(folder, output) == 1
    assert "another job: number of pictures in the input: 25, now 24;" in capsys.readouterr().err
    # As a folder that moved is, for example another mount of the same volume.
    folder.rename(tmp_path / "moved")
    write_pictures(tmp_path / "moved", 25, BAD)
    assert batch(tmp_path / "moved", output) == 0


def test_a_channel_that_was_switched_is_another_job(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A CronJob takes a new folder for each run; one that was killed needs its version."""
    store, reference = tmp_path / "store", f"store:{tmp_path}/store/yolo@stable"
    records = []
    for version, width in (("1", 32), ("2", 64)):
        source = write_tiny_model(tmp_path / version, width=width)
        files = {path.name: path.read_bytes() for path in source.iterdir()}
        records.append(publish(store, files, version=version))
        status = batch(folder, tmp_path / "out", "--model", reference, "--max-errors", "0")
        assert status == 1
        said = capsys.readouterr().err.splitlines()[-1]
        if version == "1":
            assert "1 bad picture, more than" in said
    assert "another job: version: 1, now 2; digest of the model: sha256:" in said

    Writer(Layout(store)).switch_channel("yolo", "stable", records[0].id)
    assert batch(folder, tmp_path / "out", "--model", reference) == 0


@pytest.mark.parametrize("name", ["results-00000.jsonl", "results-00000.parquet"])
def test_results_that_no_checkpoint_counts_are_not_mixed_with_new_ones(
    batch: Batch, folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("old")

    assert batch(folder, tmp_path / "out") == 1
    assert f"has {name}, but neither checkpoint.json nor manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["checkpoint.json", "manifest.json"])
@pytest.mark.parametrize("content", ["", "{}", '{"job": 1}', "\xff"])
def test_a_checkpoint_of_something_else_is_refused(
    batch: Batch, folder: Path, tmp_path: Path, name: str, content: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content, encoding="latin-1")

    assert batch(folder, tmp_path / "out") == 1
    assert "is not one that this version of elastic-yolo writes" in capsys.readouterr().err


def test_errors_that_are_gone_are_not_forgotten(
    batch: Batch, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(folder, tmp_path / "out", "--max-errors", "1") == 1
    (tmp_path / "out" / "errors-00000.jsonl").unlink()

    assert batch(folder, tmp_path / "out") == 1
    assert "errors-00000.jsonl is gone" in capsys.readouterr().err


def test_the_input_may_be_an_archive_a_glob_or_a_list(
    batch: Batch, folder: Path, tmp_path: Path
) -> None:
    paths = sorted(folder.iterdir())
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    for suffix in ("tar", "tar.gz"):
        with tarfile.open(
            tmp_path / f"all.{suffix}", f"w:{suffix.removeprefix('tar').strip('.')}"
        ) as tar:  # type: ignore[call-overload]
            tar.add(folder, ".")
    (tmp_path / "all.txt").write_text("\n".join(f"in/{path.name}" for path in paths))
    inputs = ["in", "in/*.png", "all.zip", "all.tar", "all.tar.gz", "all.txt"]
    inputs.append(f"file://{folder}")
    for number, source in enumerate(inputs):
        address = source if "://" in source else tmp_path / source
        drawn = ("--format", "jsonl", "--format", "drawn")
        assert batch(address, tmp_path / str(number), *drawn, "--shard-size", "7") == 0

    expected = read_results(tmp_path / "0")
    assert len(expected) == 23
    for number in range(1, len(inputs)):
        found = read_results(tmp_path / str(number))
        assert {Path(name).name: data for name, data in found.items()} == expected
        assert {Path(name).name for name in read_errors(tmp_path / str(number))} == set(
            read_errors(tmp_path / "0")
        )
        drawn_names = {Path(name).name for name in names_in(tmp_path / str(number) / "drawn")}
        assert drawn_names == {f"{name}.jpg" for name in expected}


def test_processes_that_share_an_input_find_what_one_finds(
    batch: Batch, folder: Path, tmp_path: Path
) -> None:
    assert batch(folder, tmp_path / "one", "--format", "coco", "--format", "jsonl") == 0
    for index in range(4):
        options = ("--index", str(index), "--completions", "4", "--shard-size", "2")
        assert (
            batch(folder, tmp_path / "four", *options, "--format", "coco", "--format", "jsonl") == 0
        )

    found: dict[str, Any] = {}
    coco: list[Any] = []
    errors: dict[str, str] = {}
    for index in range(4):
        part = tmp_path / "four" / f"index-{index}-of-4"
        results = read_results(part)
        assert not found.keys() & results.keys()
        found |= results
        errors |= read_errors(part)
        coco += [one for path in part.glob("*.coco.json") for one in json.loads(path.read_text())]
        assert read_manifest(part)["pictures"] in (6, 7)
    assert found == read_results(tmp_path / "one")
    assert errors == read_errors(tmp_path / "one")
    whole = json.loads((tmp_path / "one" / "results-00000.coco.json").read_text())
    assert sorted(coco, key=lambda one: one["image_id"]) == whole
    assert [path.name for path in (tmp_path / "four").iterdir() if path.is_file()] == []


def test_a_process_that_finds_other_pictures_than_the_others_refuses_to_work(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would deal them out otherwise: some twice, some to nobody."""
    folder = write_pictures(tmp_path / "in", 6)
    assert batch(folder, tmp_path / "out", "--index", "0", "--completions", "2") == 0
    write_pictures(tmp_path / "new", 7)
    (tmp_path / "new" / "0006.png").rename(folder / "0006.png")
    capsys.readouterr()

    assert batch(folder, tmp_path / "out", "--index", "1", "--completions", "2") == 1

    said = capsys.readouterr().err
    assert "index-0-of-2: its process found 6 pictures in the input, this one finds 7" in said


def test_a_process_without_pictures_is_done(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "in", 2)

    assert batch(folder, tmp_path / "out", "--index", "2", "--completions", "3") == 0

    captured = capsys.readouterr()
    assert captured.err == ""
    assert "0 pictures in 0.0 s" in captured.out
    assert read_manifest(tmp_path / "out" / "index-2-of-3")["files"]["jsonl"] == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--completions", "3"), "--completions: needs --index"),
        (("--index", "3", "--completions", "3"), "--index 3: expected less than --completions"),
        (("--index", "1"), "--index 1: expected less than --completions"),
        (("--index", "-1"), "--index: expected an integer from 0"),
        (("--completions", "0"), "--completions: expected an integer above 0"),
        (("--annotations", "truth.json"), "--annotations: only --format coco uses it"),
        (("--format", "coco", "--annotations", "gone"), "--annotations: no such file: gone"),
        (("--workers", "2"), "--workers: only with --engine ray"),
        (("--shard-size", "0"), "--shard-size: expected an integer above 0"),
        (("--max-errors", "x"), "--max-errors: expected an integer from 0"),
        (("--format", "xml"), "--format: invalid choice: 'xml'"),
        (("--output", "truth.json"), "--output: not a folder: truth.json"),
        (("--output", ""), "--output: expected a path or a URL"),
        (("--input", ""), "--input: expected a path or a URL"),
        (("--input", "a.jpg", "b.jpg"), "expected one address, got 2: put a glob in quotes"),
        (("--model", "nothing"), "--model: nothing: no such folder"),
    ],
)
def test_wrong_usage_is_status_2(
    batch: Batch, tmp_path: Path, options: tuple[str, ...], why: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in", 1)
    Path("truth.json").write_text("{}")

    with pytest.raises(SystemExit) as ended:
        batch("in", "out", *options)

    assert ended.value.code == 2
    assert why in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in", "in"),
        ("in", "in/out"),
        ("link", "in/out"),
        ("in/**/*.png", "in/out"),
        ("out/drawn", "out"),
        ("out/drawn/a.jpg", "out"),
        ("s3://bucket/in", "s3://bucket/in/out/"),
        ("s3://bucket/out/drawn/", "s3://bucket/out"),
    ],
)
def test_drawn_pictures_never_become_or_overwrite_the_input(
    batch: Batch, tmp_path: Path, source: str, output: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in", 1)
    Path("link").symlink_to("in")

    with pytest.raises(SystemExit) as ended:
        batch(source, output, "--format", "drawn")
    assert ended.value.code == 2
    assert "pictures with boxes would be among those of --input" in capsys.readouterr().err


def test_the_output_may_be_inside_the_input_otherwise(batch: Batch, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", 2)

    for _ in range(2):
        assert batch(folder, folder / "out") == 0
    for _ in range(2):
        assert batch(folder / "*.png", folder / "drawn-out", "--format", "drawn") == 0
    assert names_in(folder / "drawn-out" / "drawn") == {"0000.png.jpg", "0001.png.jpg"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--input", "gone"), "gone: no such file or folder"),
        (("--input", "gone.zip"), "gone.zip: No such file or directory"),
        (("--input", "gone.txt"), "gone.txt: No such file or directory"),
        (("--input", "ftq://host/x"), "ftq://host/x: Protocol not known: ftq"),
        (("--output", "x/y"), "x is not a folder"),
        (("--output", "ftq://host/x"), "ftq://host/x: Protocol not known: ftq"),
        (("--format", "coco", "--annotations", "x"), "x: Expecting value"),
        (("--format", "coco", "--annotations", "in/0000.png"), "in/0000.png: 'utf"),
        (
            ("--engine", "ray"),
            "--engine ray needs ray, which is not installed here: install 'elastic-yolo[ray]'",
        ),
        (("--input", "twice.txt", "--format", "drawn"), "0000.png and ./0000.png would become"),
    ],
)
def test_what_no_second_run_mends_is_status_1_and_one_line(
    batch: Batch, tmp_path: Path, options: tuple[str, ...], why: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in", 1)
    Path("x").write_text("x")
    Path("twice.txt").write_text("0000.png\n./0000.png\n")

    assert batch("in", "out", *options) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert why in captured.err.splitlines()[-1]
    assert captured.err.splitlines()[-1].startswith("elastic-yolo: ")


def test_names_that_are_not_utf8_come_through(tmp_path: Path) -> None:
    """Of pictures, of the folders of input and output, and of the model."""
    folder = write_pictures(tmp_path / os.fsdecode(b"in-\xff"), 1)
    (folder / "0000.png").rename(folder / os.fsdecode(b"\xe9t\xe9.png"))
    model = write_tiny_model(tmp_path / os.fsdecode(b"model-\xe9"))
    output = tmp_path / os.fsdecode(b"out-\xff")
    options = [
        part for form in ("jsonl", "coco", "parquet", "drawn") for part in ("--format", form)
    ]

    for _ in range(2):
        given = ("--input", folder, "--output", output, "--model", model, *options)
        status, said, err = run("batch", *given)
        assert status == 0, err

    assert list(read_results(output)) == ["\udce9t\udce9.png"]
    assert (output / "drawn" / "\udce9t\udce9.png.jpg").exists()
    assert read_manifest(output)["model"]["name"] == "tiny"
    assert read_manifest(output)["input"] == f"{tmp_path}/in-\ufffd"
    assert said.endswith("out-\ufffd/manifest.json\n")


def test_labels_of_all_languages_come_through(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "model")
    (model / "tiny.names").write_text("猫\nécureuil\n", encoding="utf-8")
    folder = write_pictures(tmp_path / "in", 1)
    options = [
        part for form in ("jsonl", "coco", "parquet", "drawn") for part in ("--format", form)
    ]

    assert batch(folder, tmp_path / "out", "--model", model, *options) == 0

    assert "  猫  1  ####" in capsys.readouterr().out
    assert read_results(tmp_path / "out")["0000.png"][0][0] == "猫"
    assert read_manifest(tmp_path / "out")["labels"] == {"猫": 1}


def test_nothing_found_is_a_result(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / "in", 3)
    options = [
        part for form in ("jsonl", "coco", "parquet", "drawn") for part in ("--format", form)
    ]

    assert batch(folder, tmp_path / "out", "--threshold", "1", *options) == 0

    assert set(map(str, read_results(tmp_path / "out").values())) == {"[]"}
    assert json.loads((tmp_path / "out" / "results-00000.coco.json").read_text()) == []
    assert pq.read_table(tmp_path / "out" / "results-00000.parquet").num_rows == 3
    assert "; 0 detections\njsonl: " in capsys.readouterr().out


def test_a_shard_of_bad_pictures_alone_is_a_shard(batch: Batch, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", 6, (2, 3))
    options = [part for form in ("jsonl", "coco", "parquet") for part in ("--format", form)]

    assert batch(folder, tmp_path / "out", "--shard-size", "2", *options) == 0

    output = tmp_path / "out"
    assert (output / "results-00001.jsonl").read_bytes() == b""
    tables = [pq.read_table(path) for path in sorted(output.glob("*.parquet"))]
    assert [table.num_rows for table in tables] == [2, 0, 2]
    # The folder is one data set, but for what is no Parquet.
    assert len({str(table.schema) for table in tables}) == 1


def test_a_picture_that_becomes_bad_leaves_no_drawn_one(batch: Batch, tmp_path: Path) -> None:
    """A killed run may have drawn more than its checkpoint counts."""
    folder = write_pictures(tmp_path / "in", 4, (0,))
    drawn = ("--format", "drawn", "--format", "jsonl")
    assert batch(folder, tmp_path / "out", *drawn, "--max-errors", "0") == 1
    shutil.copy(folder / "0001.png", tmp_path / "out" / "drawn.jpg")
    (tmp_path / "out" / "drawn").mkdir(exist_ok=True)
    (tmp_path / "out" / "drawn" / "0002.png.jpg").write_bytes(b"of a killed run")
    (folder / "0002.png").unlink()
    (folder / "0002.png").write_bytes(b"none")

    assert batch(folder, tmp_path / "out", *drawn) == 0

    assert names_in(tmp_path / "out" / "drawn") == {"0001.png.jpg", "0003.png.jpg"}
    assert set(read_errors(tmp_path / "out")) == {"0000.png", "0002.png"}


def test_what_a_killed_run_left_is_replaced_or_removed(batch: Batch, tmp_path: Path) -> None:
    """Files that its checkpoint does not count: of a larger shard, and of bad pictures."""
    folder = write_pictures(tmp_path / "in", 10, (0,))
    output = tmp_path / "out"
    assert batch(folder, output, "--max-errors", "0") == 1
    assert json.loads((output / "checkpoint.json").read_text())["shards"] == [1]
    (output / "results-00001.jsonl").write_text('{"picture": "0001.png", "data": []}\n' * 9)
    (output / "errors-00001.jsonl").write_text('{"picture": "0001.png", "error": "?"}\n')
    (output / ".unfinished").mkdir()
    (output / ".unfinished" / ".new-abc").write_text("half")

    assert batch(folder, output, "--shard-size", "4") == 0

    assert len(read_results(output)) == 9
    assert list(read_errors(output)) == ["0000.png"]
    shards = {f"results-{number:05}.jsonl" for number in range(4)}
    assert names_in(output) == {*shards, "errors.jsonl", "manifest.json"}
    assert not (output / ".unfinished").exists()


def test_closed_outputs_do_not_change_what_is_done(
    tiny_model: Path, folder: Path, tmp_path: Path
) -> None:
    """`| true`, and `>&- 2>&-`."""
    command = [sys.executable, "-m", "elastic_yolo.cli", "batch", "--model", str(tiny_model)]
    reading, writing = os.pipe()
    os.close(reading)
    given = [*command, "--input", str(folder), "--output"]
    ended = subprocess.run(
        [*given, str(tmp_path / "a")], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    shell = subprocess.run(
        ["/bin/sh", "-c", '"$@" >&- 2>&-', "sh", *given, str(tmp_path / "b")], cwd=ROOT, check=False
    )

    assert (ended.returncode, shell.returncode) == (1, 0)
    assert b"Traceback" not in ended.stderr
    assert read_results(tmp_path / "a") == read_results(tmp_path / "b")
    assert len(read_results(tmp_path / "a")) == 23


def test_a_second_process_does_not_write_to_the_same_output(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = write_pictures(tmp_path / "in", 400)
    arguments = ("--input", folder, "--output", tmp_path / "out", "--model", tiny_model)
    arguments += ("--format", "drawn", "--shard-size", "1")
    with started(*arguments) as first:
        wait_until((tmp_path / "out" / "checkpoint.json").exists, "the start", 60)
        with started(*arguments) as second:
            _, said = second.communicate(timeout=100)
        _, first_said = first.communicate(timeout=100)

    assert (first.returncode, second.returncode) == (0, TRY_AGAIN), first_said + said
    assert said == f"elastic-yolo: {tmp_path}/out: another process writes to it\n"


def test_help_is_plain(capsys: pytest.CaptureFixture[str], batch: Batch) -> None:
    with pytest.raises(SystemExit) as ended:
        batch("in", "out", "--help")
    assert ended.value.code == 0
    assert "Exit status: 0 done" in capsys.readouterr().out
