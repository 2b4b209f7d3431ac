"""`elastic-yolo detect --url`, as a program, in front of real services."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Lock, Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from elastic_yolo.cli.__main__ import main
from elastic_yolo.lab.processes.stack import ROOT, Stack, free_port
from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.scripted_server import Response, serve
from tests.support.waiting import wait_until
from tests.support.web_door import SCENES, count_responses, post_directly, web_before

ANSWER = json.dumps(
    {
        "success": "true", "uid": "0" * 32, "data": [], "image": {"width": 1, "height": 1},
        "model": {"name": "m", "version": "1", "digest": "d"},
    }
).encode()  # fmt: skip
COMMAND = (sys.executable, "-m", "elastic_yolo.cli", "detect", "--url")


def detect(url: object, *arguments: str | Path) -> tuple[int, str, str]:
    return run("detect", "--url", str(url), *arguments)


def detect_with_input(url: str, content: bytes, *arguments: str) -> tuple[int, str]:
    ended = subprocess.run(
        [*COMMAND, url, *arguments],
        cwd=ROOT, input=content, stdout=subprocess.PIPE, timeout=100, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout.decode()


def lines_of(text: str) -> dict[str, Any]:
    """Return what JSON lines say, by picture."""
    values = [json.loads(line) for line in text.splitlines()]
    return {value["picture"]: value for value in values}


@pytest.fixture
def url(demo_stack: Stack) -> str:
    return demo_stack.web.url


def test_json_lines_have_the_values_of_the_service(url: str) -> None:
    status, out, _ = detect(url, "--format", "jsonl", *SCENES[:4])

    assert status == 0
    found = lines_of(out)
    for scene in SCENES[:4]:
        expected, line = post_directly(url, scene), found[str(scene)]
        assert (line["data"], line["image"], line["model"]) == (
            expected["data"],
            expected["image"],
            expected["model"],
        )
        assert len(line["uid"]) == 32


def test_json_is_another_name_of_json_lines_and_one_at_a_time_keeps_the_order(url: str) -> None:
    status, out, _ = detect(url, "--json", "--concurrency", "1", *SCENES[:4])

    assert status == 0
    assert list(lines_of(out)) == list(map(str, SCENES[:4]))


def test_the_table_is_that_of_a_model_on_this_machine(url: str) -> None:
    status, out, _ = detect(url, SCENES[0])

    (_, score, (x, y, *_)), *_ = post_directly(url, SCENES[0])["data"]
    head, first, *_ = out.splitlines()
    assert status == 0
    assert head == f"{SCENES[0]}: {len(out.splitlines()) - 1} found"
    assert first.split()[1:4] == [f"{score:.3f}", f"{x:.2f}", f"{y:.2f}"]


def test_threshold_and_model_are_those_of_the_options(url: str) -> None:
    name = post_directly(url, SCENES[0])["model"]["name"]

    _, out, _ = detect(url, "--json", "--threshold", "0.9", "--model", name, SCENES[0])

    expected = post_directly(url, SCENES[0], threshold="0.9")["data"]
    assert lines_of(out)[str(SCENES[0])]["data"] == expected


def test_csv_is_parsed_back_to_the_values_of_the_service(url: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty, with a comma.png"
    empty.write_bytes(encode(plain(64, 48)))

    status, out, _ = detect(url, "--format", "csv", SCENES[0], empty)

    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    mine = [row for row in rows if row["picture"] == str(SCENES[0])]
    boxes = [
        [
            row["label"],
            float(row["score"]),
            [float(row[one]) for one in ("x", "y", "width", "height")],
        ]
        for row in mine
    ]
    (other,) = [row for row in rows if row["picture"] == str(empty)]
    assert status == 0
    assert boxes == post_directly(url, SCENES[0])["data"]
    assert (other["found"], other["image_width"], other["image_height"]) == ("0", "64", "48")


def test_coco_is_parsed_back_to_the_values_of_the_service(url: str, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"

    status, out, _ = detect(url, "--format", "coco", "--output", path, *SCENES[:3])

    found = COCO(str(path))
    assert (status, out) == (0, "")
    for image in found.imgs.values():
        expected = post_directly(url, Path(image["file_name"]))
        assert {"width": image["width"], "height": image["height"]} == expected["image"]
        annotations = found.imgToAnns[image["id"]]
        labels = [one["name"] for one in found.loadCats([a["category_id"] for a in annotations])]
        assert labels == [label for label, *_ in expected["data"]]
        for annotation, (_, score, (x, y, w, h)) in zip(annotations, expected["data"], strict=True):
            assert annotation["score"] == score
            assert annotation["bbox"] == pytest.approx([x - w / 2, y - h / 2, w, h], abs=0.01)
    assert len(found.imgs) == 3


def test_drawn_pictures_decode_and_differ_from_the_originals(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "boxes"

    status, _, _ = detect(url, "--save", folder, *SCENES[:2])

    assert status == 0
    for scene in SCENES[:2]:
        drawn = np.asarray(Image.open(folder / f"{scene.stem}.jpg").convert("RGB"), int)
        original = np.asarray(Image.open(scene).convert("RGB"), int)
        assert drawn.shape == original.shape
        assert 0.005 < (np.abs(drawn - original).max(axis=2) > 60).mean() < 0.3


def test_folders_and_patterns_stand_for_their_pictures(url: str, tmp_path: Path) -> None:
    for name in ("a/one.png", "a/b/two.png", "a/b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(plain(32, 32)))

    _, in_folder, _ = detect(url, "--json", tmp_path / "a")
    _, matching, _ = detect(url, "--json", f"{tmp_path}/**/*")
    status, _, err = detect(url, "--json", f"{tmp_path}/*.bmp")

    assert set(lines_of(in_folder)) == {f"{tmp_path}/a/one.png"}
    assert set(lines_of(matching)) == {f"{tmp_path}/a/one.png", f"{tmp_path}/a/b/two.png"}
    assert (status, err) == (1, f"elastic-yolo: {tmp_path}/*.bmp: no pictures match\n")


def test_a_picture_or_a_list_comes_from_standard_input(url: str) -> None:
    one, out = detect_with_input(url, SCENES[0].read_bytes(), "--json", "-")
    listed = "\n".join(map(str, SCENES[:3])).encode()
    several, lines = detect_with_input(url, listed, "--json", "--list", "-")

    assert (one, several) == (0, 0)
    assert lines_of(out)["-"]["data"] == post_directly(url, SCENES[0])["data"]
    assert set(lines_of(lines)) == set(map(str, SCENES[:3]))


def test_names_of_any_bytes_reach_the_files_and_forge_nothing(url: str, tmp_path: Path) -> None:
    """A line end and a colour, HTML, and a byte that is no UTF-8."""
    evil = [b"x\n\x1b[31m.png", b"<script>alert(1)<", b"\xe9t\xe9.png", b"=cmd.png"]
    folder = os.fsencode(tmp_path)
    for name in evil:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(encode(plain(32, 32)))
    listed = b"\n".join(folder + b"/" + name for name in evil[1:])

    _, table = detect_with_input(url, listed, "--list", "-")
    _, rows = detect_with_input(url, listed, "--list", "-", "--format", "csv")
    status, lines, _ = detect(url, "--json", tmp_path)
    _, shown, _ = detect(url, tmp_path)

    names = {Path(os.fsdecode(name)).name for name in evil if name.endswith(b".png")}
    assert status == 0
    assert {Path(name).name for name in lines_of(lines)} == names
    assert {line.removesuffix(": 0 found").rpartition("/")[2] for line in table.splitlines()} == {
        "<script>alert(1)<", r"\udce9t\udce9.png", "=cmd.png",
    }  # fmt: skip
    assert len(list(csv.reader(io.StringIO(rows, newline="")))) == 4
    assert r"/x\n\x1b[31m.png: 0 found" in shown
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 3


def test_bad_pictures_are_listed_at_the_end_with_their_uid(
    demo_stack: Stack, tmp_path: Path
) -> None:
    bad = tmp_path / "bad\n.jpg"
    bad.write_text("<html>")

    status, out, err = detect(demo_stack.web.url, bad, tmp_path / "absent.png", SCENES[0])

    lines = err.splitlines()
    assert status == 1
    assert f"{SCENES[0]}: " in out
    assert lines[-3] == "elastic-yolo: 2 of 3 pictures failed:"
    (refused,) = [line for line in lines[-2:] if "uid" in line]
    (absent,) = [line for line in lines[-2:] if "absent.png" in line]
    assert absent == f"elastic-yolo: {tmp_path}/absent.png: No such file or directory"
    assert refused.startswith(rf"elastic-yolo: {tmp_path}/bad\n.jpg: 415 Unsupported Media Type: ")
    uid = refused.removesuffix(")").rpartition("(uid ")[2]
    assert demo_stack.web.log is not None
    assert uid in demo_stack.web.log.read_text()


def test_what_would_fail_for_every_picture_ends_the_run(url: str) -> None:
    status, out, err = detect(url, "--model", "absent", "--concurrency", "1", *SCENES)

    first, second = err.splitlines()[-2:]
    assert (status, out) == (1, "")
    assert first == (
        f"elastic-yolo: 1 of {len(SCENES)} pictures failed, {len(SCENES) - 1} not sent, because "
        "they would fail as well:"
    )
    assert "404 Not Found: no model 'absent' here" in second


def test_a_service_that_is_away_is_waited_for_once() -> None:
    """And not as long again for every picture."""
    status, out, err = detect(
        f"http://127.0.0.1:{free_port()}", "--patience", "1", "--concurrency", "2", *SCENES
    )

    assert (status, out) == (1, "")
    assert f"{len(SCENES) - 2} not sent, because they would fail as well" in err
    assert err.splitlines()[-1].endswith("no answer (Connection refused)")


@pytest.mark.parametrize(
    ("bodies", "results", "said"),
    [
        ([ANSWER, b"<html>", ANSWER], 2, "1 of 3 pictures failed:"),
        ([b"<html>", ANSWER, ANSWER], 0, "1 of 3 pictures failed, 2 not sent"),
    ],
    ids=["one is damaged", "another server"],
)
def test_an_answer_that_is_none_ends_the_run_if_there_was_no_other(
    bodies: list[bytes], results: int, said: str
) -> None:
    with serve(*map(Response, [200] * 3, bodies)) as server:
        status, out, err = detect(server.url, "--json", "--concurrency", "1", *SCENES[:3])

    assert status == 1
    assert len(lines_of(out)) == results
    assert said in err
    assert "the answer is not JSON" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "web:5000", "x.jpg"], "--url: expected http://HOST:PORT, not 'web:5000'"),
        (["--url", "http://w/inference", "x"], "--url: expected the address without /inference"),
        (["--url", "http://w", "x.jpg", "--engine", "darknet"], "--engine: not with --url"),
        (["--url", "http://w", "x.jpg", "--exact"], "--exact: not with --url"),
        (["--url", "http://w", "x.jpg", "--threads", "900"], "--threads: "),
        (["--url", "http://w", "x.jpg", "--rate", "0"], "--rate: expected a number above 0"),
        (["--url", "http://w", "x.jpg", "--concurrency", "0"], "--concurrency: expected an"),
        (["--url", "http://w", "x.jpg", "--resume"], "--resume: needs --output"),
        (["--url", "http://w", "x.jpg", "--resume", "--output", "r"], "--resume: needs --format"),
        (["--url", "http://w", "x.jpg", "--format", "xml"], "--format: invalid choice"),
        (["--url", "http://w", "-", "--list", "-"], "-: standard input can be read only once"),
        (["--url", "http://w"], "required: PICTURE, or --list"),
        (["x.jpg"], "required: --model, or --url"),
        (["x.jpg", "--model", "models/demo", "--rate", "3"], "--rate: only with --url"),
        (["x.jpg", "--model", "models/demo", "--patience", "3"], "--patience: only with --url"),
        (["x.jpg", "--model", "absent"], "argument --model: absent: no such folder"),
        (["--url", "http://w", "LICENSE", "--output", "./LICENSE"], "--output: would overwrite"),
        (["--url", "http://w", "a.png", "--save", ".", "--output", "a.jpg"], "--output: --save"),
    ],
)  # fmt: skip
def test_wrong_usage_is_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["detect", *arguments])

    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert said in err.splitlines()[-1]


@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "coco"])
def test_what_is_no_regular_file_is_not_replaced(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe stands for /dev/null, which root could replace by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for output in (pipe, tmp_path / "link"):
        if output != pipe:
            output.symlink_to(pipe)
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "detect",
                    "--url",
                    "http://127.0.0.1:9",
                    "x.jpg",
                    "--format",
                    form,
                    "--output",
                    str(output),
                ]
            )

        assert ended.value.code == 2
        assert "--output: not a regular file" in capsys.readouterr().err
    assert pipe.is_fifo()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_killed_run_goes_on_and_sends_no_picture_again(
    demo_stack: Stack, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "results"
    with web_before(demo_stack, tmp_path / "web.log") as web:
        options = (web.url, "--format", form, "--output", str(path), *map(str, SCENES))
        killed = subprocess.Popen([*COMMAND, *options, "--concurrency", "1"], cwd=ROOT)
        wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 3, "results", 60)
        killed.kill()
        killed.wait()
        kept = path.read_bytes()
        status, _, err = detect(*options, "--resume")
        answered = count_responses(web, "200")
        again = detect(*options, "--resume")

    content = path.read_bytes().decode()
    assert killed.returncode == -signal.SIGKILL
    assert status == 0
    # All of it, but for rows of a picture that were not all there yet.
    assert content.startswith(kept[: kept.rindex(b"scene")].decode())
    if form == "jsonl":
        assert [json.loads(line) for line in kept.splitlines()]
        pictures = [json.loads(line)["picture"] for line in content.splitlines()]
    else:
        rows = csv.DictReader(io.StringIO(content, newline=""))
        pictures = list(dict.fromkeys(row["picture"] for row in rows))
    assert sorted(pictures) == sorted(map(str, SCENES))
    assert f"of {len(SCENES)} pictures done before" in err
    # That which was in progress when the run was killed may have been answered too.
    assert len(SCENES) <= answered <= len(SCENES) + 1
    assert again[0] == 0
    assert f"{len(SCENES)} of {len(SCENES)} pictures done before" in again[2]


def test_a_coco_file_is_valid_at_every_moment(demo_stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = (demo_stack.web.url, "--format", "coco", "--output", str(path), *map(str, SCENES))
    killed = subprocess.Popen([*COMMAND, *options, "--rate", "5"], cwd=ROOT)
    wait_until(path.exists, "the file is there", 60)
    killed.kill()
    killed.wait()

    assert json.loads(path.read_text())["images"] == []
    assert detect(*options, "--resume")[0] == 0
    assert len(json.loads(path.read_text())["images"]) == len(SCENES)


def test_ctrl_c_keeps_what_was_done(demo_stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    with web_before(demo_stack, tmp_path / "web.log") as web:
        stopped = subprocess.Popen(
            [*COMMAND, web.url, "--format", "coco", "--output", path, "--rate", "5", *SCENES],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # The second is sent when the result of the first is there.
        wait_until(lambda: count_responses(web, "200") > 2, "pictures are answered", 60)
        stopped.send_signal(signal.SIGINT)
        _, err = stopped.communicate(timeout=60)

    assert stopped.returncode == 1
    assert err.splitlines()[-1] == "elastic-yolo: stopped"
    assert "Traceback" not in err
    assert json.loads(path.read_text())["images"]


def test_a_file_of_something_else_is_not_touched_by_resume(url: str, tmp_path: Path) -> None:
    diary = tmp_path / "diary.txt"
    diary.write_text("dear diary\n")

    status, _, err = detect(url, "--json", "--output", diary, "--resume", SCENES[0])

    assert (status, err) == (
        1, f"elastic-yolo: --resume: {diary}: line 1 is not the result for a picture\n",
    )  # fmt: skip
    assert diary.read_text() == "dear diary\n"


def test_results_that_cannot_be_written_end_the_run(url: str) -> None:
    """/dev/full takes nothing."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, url, "--json", *SCENES],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, check=False,
        )  # fmt: skip

    assert ended.returncode == 1
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_rate_is_not_exceeded(url: str) -> None:
    """Six pictures at ten a second take half a second at least."""
    started = time.monotonic()
    status, _, err = detect(url, "--rate", "10", "--concurrency", "6", *SCENES[:6])
    took_s = time.monotonic() - started

    assert status == 0
    assert took_s >= 0.5
    assert "6 of 6 pictures" in err


@pytest.mark.long
def test_a_service_that_takes_one_picture_at_a_time_answers_all(
    demo_stack: Stack, tmp_path: Path
) -> None:
    """The others get 429, and come back after the time that it states."""
    with web_before(demo_stack, tmp_path / "web.log", MAX_IN_FLIGHT="1") as narrow:
        status, out, err = detect(narrow.url, "--json", "--concurrency", "4", *SCENES[:5])
        refused = count_responses(narrow, "429")

    assert status == 0, err
    assert refused > 0
    assert len(lines_of(out)) == 5


def test_a_run_outlasts_a_restart_of_the_service(demo_stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    log, path = tmp_path / "web.log", tmp_path / "results.jsonl"
    with ThreadPoolExecutor(1) as pool:
        with web_before(demo_stack, log, port=port) as web:
            run_ = pool.submit(detect, web.url, "--json", "--output", path, "--rate", "5", *SCENES)
            wait_until(lambda: path.exists() and path.read_bytes().count(b"\n") > 1, "results", 60)
        with web_before(demo_stack, log, port=port):
            status, _, err = run_.result(100)

    assert status == 0, err
    assert len(lines_of(path.read_text())) == len(SCENES)


@contextmanager
def counting_server(at_once: int) -> Iterator[tuple[str, list[int]]]:
    """Answer pictures in groups; yields the URL, and how many were there with each."""
    present, lock, together = [0], Lock(), Barrier(at_once, timeout=30)
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                present[0] += 1
                seen.append(present[0])
            together.wait()
            with lock:
                present[0] -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(ANSWER)))
            self.end_headers()
            self.wfile.write(ANSWER)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()


def test_as_many_pictures_as_stated_are_sent_at_once_and_no_more() -> None:
    """Each group is answered only when all three of it are there."""
    with counting_server(at_once=3) as (url, seen):
        status, _, err = detect(url, "--concurrency", "3", *SCENES[:9])

    assert status == 0, err
    assert max(seen) == 3
    assert len(seen) == 9


def test_the_formats_are_the_same_for_a_model_on_this_machine(
    tiny_model: Path, picture: Path, tmp_path: Path
) -> None:
    path = tmp_path / "results.csv"

    status, out, err = run(
        "detect", "--model", tiny_model, "--format", "csv", "--output", path, picture
    )

    (row,) = csv.DictReader(io.StringIO(path.read_text(), newline=""))
    assert (status, out, err) == (0, "", "")
    assert (row["label"], row["x"], row["image_width"]) == ("square", "160.0", "320")


def test_a_key_in_the_environment_is_sent(
    demo_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "0123456789abcdef"
    with web_before(demo_stack, tmp_path / "web.log", ACCESS_TOKEN=key) as guarded:
        monkeypatch.delenv("ELASTIC_YOLO_TOKEN", raising=False)
        refused = detect(guarded.url, *SCENES[:2])
        monkeypatch.setenv("ELASTIC_YOLO_TOKEN", key)
        status, _, _ = detect(guarded.url, *SCENES[:2])

    assert refused[0] == 1
    assert "401 Unauthorized: this service requires an API key or a token" in refused[2]
    assert status == 0
