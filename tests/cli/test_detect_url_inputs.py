"""What `elastic-yolo detect --url` reads, and how it is stopped while it reads."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import ROOT, free_port
from tests.support.command import run
from tests.support.pictures import encode, plain
from tests.support.scripted_server import Response, TinyServer, serve
from tests.support.waiting import wait_until

ANSWER = json.dumps(
    {
        "success": "true", "uid": "0" * 32, "data": [], "image": {"width": 1, "height": 1},
        "model": {"name": "m", "version": "1", "digest": "d"},
    }
).encode()  # fmt: skip
COMMAND = (sys.executable, "-m", "elastic_yolo.cli", "detect", "--url")
PROBLEM = {"Content-Type": "application/problem+json"}


@pytest.fixture
def server() -> Iterator[TinyServer]:
    """A server that finds nothing in any picture."""
    with serve(Response(body=ANSWER)) as running:
        yield running


@pytest.fixture
def ok(tmp_path: Path) -> Path:
    path = tmp_path / "ok.jpg"
    path.write_bytes(encode(plain(32, 32)))
    return path


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    return path


def pictures_of(out: str) -> list[str]:
    return [json.loads(line)["picture"] for line in out.splitlines()]


def stop_while_it_reads(
    server: TinyServer, ok: Path, picture: str, stdin: int = subprocess.DEVNULL
) -> tuple[int, str]:
    """Send SIGINT while `picture` is being read; return status and stderr.

    It is begun before the next picture, which the server gets.
    """
    process = subprocess.Popen(
        [*COMMAND, server.url, picture, ok],
        cwd=ROOT, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    timer = threading.Timer(90, process.kill)
    timer.start()
    try:
        wait_until(lambda: server.requests == 1, "the next picture is sent", 60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    finally:
        timer.cancel()
        process.kill()
    return process.returncode, err


def test_ctrl_c_ends_a_run_that_waits_for_a_pipe(server: TinyServer, pipe: Path, ok: Path) -> None:
    status, err = stop_while_it_reads(server, ok, str(pipe))

    assert (status, err.splitlines()[-1]) == (1, "elastic-yolo: stopped")


def test_ctrl_c_ends_a_run_that_waits_for_a_terminal(server: TinyServer, ok: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        status, err = stop_while_it_reads(server, ok, "-", theirs)
    finally:
        os.close(ours)
        os.close(theirs)

    assert (status, err.splitlines()[-1]) == (1, "elastic-yolo: stopped")


def test_a_pipe_that_never_ends_fails_alone_when_patience_is_over(
    server: TinyServer, pipe: Path, ok: Path
) -> None:
    started = time.monotonic()
    status, out, err = run(
        "detect", "--url", server.url, "--json", "--patience", "0.5", "--concurrency", "1", pipe, ok
    )

    assert status == 1
    assert time.monotonic() - started < 60
    assert pictures_of(out) == [str(ok)]
    assert f"elastic-yolo: {pipe}: not read to its end within 0.5 s\n" in err
    assert "--patience is 0.5 s" in err


def test_folders_and_patterns_leave_pipes_and_folders_out(
    server: TinyServer, pipe: Path, ok: Path
) -> None:
    folder = pipe.parent
    (folder / "folder.jpg").mkdir()

    whole, in_folder, _ = run("detect", "--url", server.url, "--json", folder)
    some, matching, _ = run("detect", "--url", server.url, "--json", f"{folder}/*.jpg")
    ok.unlink()
    none, _, err = run("detect", "--url", server.url, "--json", folder)

    assert (whole, some, none) == (0, 0, 1)
    assert pictures_of(in_folder) == pictures_of(matching) == [str(ok)]
    assert err == f"elastic-yolo: {folder}: no pictures: expected regular files\n"


def test_a_process_substitution_is_read_to_its_end(server: TinyServer, ok: Path) -> None:
    command = f"{' '.join(COMMAND)} {server.url} --json <(cat {ok}) /dev/stdin < <(cat {ok})"
    ended = subprocess.run(
        ["/bin/bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    assert len(pictures_of(ended.stdout)) == server.requests == 2


def test_lines_of_a_list_are_names_and_a_bad_one_fails_alone(
    server: TinyServer, ok: Path, tmp_path: Path
) -> None:
    """No pattern, no name of standard input, no folder without pictures ends the run."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    long = "x" * 300
    bad = ["[a].jpg", "gone[1].jpg", "*.jpg", "empty", long, "-"]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join([*bad, str(ok)]))

    ended = subprocess.run(
        [*COMMAND, server.url, "--json", "--concurrency", "1", "--list", listed],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert ended.returncode == 1
    assert pictures_of(ended.stdout) == [str(ok)]
    assert "elastic-yolo: 6 of 7 pictures failed:" in ended.stderr
    assert ended.stderr.splitlines()[-6:] == [
        "elastic-yolo: [a].jpg: No such file or directory",
        "elastic-yolo: gone[1].jpg: No such file or directory",
        "elastic-yolo: *.jpg: No such file or directory",
        "elastic-yolo: empty: Is a directory",
        f"elastic-yolo: {long}: File name too long",
        "elastic-yolo: -: No such file or directory",
    ]


def test_a_name_that_is_too_long_fails_alone(server: TinyServer, ok: Path) -> None:
    status, out, err = run("detect", "--url", server.url, "--json", "[x" * 300, ok)
    _, other, _ = run("detect", "--url", server.url, "--json", "x" * 300, ok)

    assert (status, out) == (1, "")
    assert err.endswith(": no pictures match\n")
    assert pictures_of(other) == [str(ok)]


def test_only_a_bare_dash_is_standard_input(server: TinyServer, tmp_path: Path, ok: Path) -> None:
    """Standard input cannot be read here."""
    (tmp_path / "-").write_bytes(ok.read_bytes())
    listed = tmp_path / "list.txt"
    listed.write_text("-\n")
    ended = []
    for arguments in (["./-"], ["--list", str(listed)], ["-"]):
        with Path("/dev/null").open("wb") as unreadable:
            ended.append(
                subprocess.run(
                    [*COMMAND, server.url, "--json", *arguments],
                    cwd=tmp_path, stdin=unreadable, capture_output=True, text=True, timeout=100,
                    check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
            )  # fmt: skip

    assert [one.returncode for one in ended] == [0, 0, 1]
    assert pictures_of(ended[0].stdout) == pictures_of(ended[1].stdout) == ["-"]
    assert "elastic-yolo: -: standard input: Bad file descriptor\n" in ended[2].stderr


def test_a_failure_has_the_name_of_its_file_also_if_the_message_begins_with_it(
    tmp_path: Path,
) -> None:
    body = b'{"title": "Unprocessable", "detail": "bad"}'
    for name in ("4", "422 Unprocessable"):
        (tmp_path / name).write_bytes(b"x")
    with serve(Response(422, body, PROBLEM)) as server:
        ended = subprocess.run(
            [*COMMAND, server.url, "--concurrency", "1", "4", "422 Unprocessable"],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    assert ended.stderr.splitlines()[-2:] == [
        "elastic-yolo: 4: 422 Unprocessable: bad",
        "elastic-yolo: 422 Unprocessable: 422 Unprocessable: bad",
    ]


def test_a_wait_that_is_too_long_is_shown(ok: Path) -> None:
    body = b'{"title": "Too Many Requests", "detail": "no room", "uid": "abc"}'
    with serve(Response(429, body, {**PROBLEM, "Retry-After": "99999999"})) as server:
        status, _, err = run("detect", "--url", server.url, ok)

    assert status == 1
    assert err.endswith(
        "429 Too Many Requests: no room (uid abc, asks to wait 27,777 h 46 min)\n"
    )  # fmt: skip


def test_giving_up_says_once_how_long_it_tried_and_what_sets_that(ok: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    status, _, err = run("detect", "--url", url, "--patience", "0.7", ok, ok, ok)

    assert status == 1
    assert err.count("elastic-yolo: gave up after ") == 1
    assert err.count("--patience is 0.7 s, the longest time for a picture") == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--patience", "1e10"], {}, "--patience: expected at most 604,800 seconds, a week"),
        (
            ["--model", "a\udcff"],
            {},
            "--model: expected text that UTF-8 can express, not 'a\\udcff'",
        ),
        ([], {"ELASTIC_YOLO_TOKEN": "ü"}, "ELASTIC_YOLO_TOKEN: has characters that"),
        ([], {"HTTP_PROXY": "foo://x"}, "HTTP_PROXY: expected the address of a proxy, http://H"),
    ],
)
def test_wrong_usage_is_two_lines(
    arguments: list[str], environment: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    status, out, err = run("detect", "--url", "http://web.invalid", *arguments, "x.jpg")

    assert (status, out) == (2, "")
    usage, mistake = err.splitlines()
    assert usage == "usage: elastic-yolo detect ... (see --help)"
    assert mistake.startswith(f"elastic-yolo detect: error: {said}")


def test_a_loop_of_links_is_no_output(ok: Path, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    status, _, err = run("detect", "--url", "http://127.0.0.1:9", "--output", loop, ok)

    assert status == 2
    assert err.endswith(f"argument --output: a loop of symbolic links: {loop}\n")


def test_a_pipe_is_no_place_for_a_drawing(ok: Path, tmp_path: Path) -> None:
    """Opening it would wait for a reader."""
    folder = tmp_path / "boxes"
    folder.mkdir()
    os.mkfifo(folder / "ok.jpg")

    status, _, err = run("detect", "--url", "http://127.0.0.1:9", "--save", folder, ok)

    assert status == 2
    assert err.endswith(f"--save: not a regular file: {folder}/ok.jpg\n")


def test_a_full_disk_is_an_error_with_the_name_of_the_file(server: TinyServer, ok: Path) -> None:
    """/dev/full takes nothing."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, server.url, "--json", ok],
            cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, check=False,
        )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == "elastic-yolo: standard output: No space left on device\n"


@pytest.mark.parametrize("form", ["jsonl", "csv", "coco"])
@pytest.mark.parametrize(
    "content", [b"my only copy of notes", b'{"images": [], "important": 1}', b"a,b,c", b"\x00\xff"]
)
def test_resume_does_not_touch_a_file_of_something_else(
    content: bytes, form: str, ok: Path, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    path.write_bytes(content)

    status, _, err = run(
        "detect", "--url", "http://127.0.0.1:9", "--format", form, "--resume", "--output", path, ok
    )

    assert (status, path.read_bytes()) == (1, content)
    assert err.startswith(f"elastic-yolo: --resume: {path}: ")
    assert len(err.splitlines()) == 1
