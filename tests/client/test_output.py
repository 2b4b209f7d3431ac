"""What the client prints: lines and tables that fit, and nothing that moves the cursor."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.output import read_tiers_ms
from client.table import cut, pad, printable, table, width_of
from elastic_yolo.lab.processes.stack import ROOT
from tests.client.running import GOOD, run, start
from tests.support.pictures import encode, plain
from tests.support.scripted_server import Response, serve

CLIENT = str(ROOT / "client" / "client.py")


def detected(*labels: str) -> Response:
    """Return a response with one detection for each label."""
    data = [[label, 0.9, [10, 20, 30.25, 40]] for label in labels]
    timing = 'inference;dur=5.25;desc="a, web;dur=9", engine;dur=5, preprocess;dur=2, web;dur=1'
    return Response(200, json.dumps({**GOOD, "data": data}).encode(), {"Server-Timing": timing})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(encode(plain(20, 20)))
    return tmp_path


def on_terminal(environment: dict[str, str], *arguments: str) -> str:
    """Run the client on a pseudo-terminal; return what it shows."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(  # noqa: S606  # our own program
            sys.executable,
            [sys.executable, CLIENT, *arguments],
            {**os.environ, "TERM": "xterm", "COLUMNS": "80", **environment},
        )
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # the client has ended
        pass
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode()


def test_several_pictures_end_with_a_table_of_them(folder: Path) -> None:
    busy = Response(413, b'{"detail": "too large: 9 > 8"}')
    with serve(detected("cat", "dog", "cat"), detected(), busy) as server:
        status, out, err = run("--url", server.url, "--pictures", str(folder), "--all")

    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert re.fullmatch(r"1/3  a\.png   3 objects +\d+ ms", lines[0])
    assert re.fullmatch(r"2/3  b\.png   0 objects +\d+ ms", lines[1])
    assert lines[2] == "3/3  c.png  status 413: too large: 9 > 8"
    head, *rows = (re.split(r" {2,}", line) for line in lines[4:8])
    tiers = ["1.0", "2.0", "5.2"]
    assert head == ["picture", "objects", "ms", "web", "preprocess", "inference"]
    assert [(*row[:2], *row[3:]) for row in rows] == [
        ("a.png", "2 cat, dog", *tiers),
        ("b.png", "none", *tiers),
        ("c.png", "status 413: too large: 9 > 8"),
    ]
    assert lines[9] == "3 requests (200: 2, 413: 1), 1 failed"


def test_a_picture_that_is_sent_often_has_one_row(folder: Path) -> None:
    with serve(detected("cat")) as server:
        _, out, _ = run("--url", server.url, "--pictures", str(folder), "--count", "40")

    rows = [line.split() for line in out.splitlines() if re.match(r"[abc]\.png +cat ", line)]
    assert len(rows) == 3
    assert sum(int(row[2]) for row in rows) == 40


def test_a_long_table_ends_with_a_count(folder: Path) -> None:
    for number in range(50):
        (folder / f"{number}.png").write_bytes((folder / "a.png").read_bytes())
    with serve(detected("cat")) as server:
        _, out, _ = run("--url", server.url, "--pictures", str(folder), "--all")

    assert "\nand 13 more pictures\n" in out
    assert "53 requests (200: 53), 0 failed" in out


def test_names_labels_and_problems_cannot_move_the_cursor(tmp_path: Path) -> None:
    for name in ("bad\x1b[2J\nname.png", "z.png"):
        (tmp_path / name).write_bytes(encode(plain(20, 20)))
    refused = Response(400, json.dumps({"detail": "no\x1b[31m\nway"}).encode())
    with serve(detected("cat\x1b[2J\r"), refused) as server:
        _, out, err = run("--url", server.url, "--pictures", str(tmp_path), "--all")
        _, raw, _ = run("--url", server.url, "--pictures", str(tmp_path), "--all", "--raw")

    assert "\x1b" not in out + err + raw
    assert r"1/2  bad\x1b[2J\nname.png" in out
    assert r"cat\x1b[2J\r" in out
    assert r"status 400: no\x1b[31m\nway" in out
    assert len(raw.splitlines()) == 2


def test_raw_prints_refusals_too_and_keeps_the_exit_status(folder: Path) -> None:
    with serve(Response(415, b'{"status":415}')) as server:
        status, out, err = run(
            "--url", server.url, "--image", str(folder / "a.png"), "--raw"
        )  # fmt: skip

    assert (status, out, err) == (1, "Response: b'{\"status\":415}'\n", "")


def test_a_terminal_gets_colours_and_its_own_width(folder: Path) -> None:
    labels = [f"label number {number}" for number in range(20)]
    arguments = ("--pictures", str(folder), "--all")
    with serve(detected(*labels), Response(400, b"{}")) as server:
        coloured = on_terminal({"NO_COLOR": ""}, "--url", server.url, *arguments)
        plain_text = on_terminal({"NO_COLOR": "1"}, "--url", server.url, *arguments)
        dumb = on_terminal({"TERM": "dumb"}, "--url", server.url, *arguments)

    assert "\x1b[1mpicture" in coloured
    assert "\x1b[31mstatus 400\x1b[0m" in coloured
    assert "\x1b" not in plain_text + dumb
    assert max(map(len, plain_text.splitlines())) <= 80
    assert "inference" not in plain_text


def test_a_terminal_without_unicode_gets_escapes(folder: Path) -> None:
    (folder / "Käse.png").write_bytes((folder / "a.png").read_bytes())
    with serve(detected("犬")) as server:
        done = subprocess.run(
            [sys.executable, CLIENT, "--url", server.url, "--image", str(folder / "Käse.png")],
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
            capture_output=True,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert rb"K\xe4se.png" in done.stdout
    assert rb"\u72ac" in done.stdout


@pytest.mark.parametrize("rate", [[], ["--rate", "100"]])
def test_a_reader_that_ends_ends_the_client(folder: Path, rate: list[str]) -> None:
    with serve(detected("cat")) as server:
        client = start("--url", server.url, "--image", str(folder / "a.png"), "--count", "0", *rate)
        assert client.stdout
        client.stdout.readline()
        client.stdout.close()
        assert client.stderr
        err = client.stderr.read()
        client.stderr.close()

    assert (client.wait(60), err) == (1, "")


def test_without_httpx_one_line_says_which_command_has_it() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", CLIENT],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    own = "run .venv/bin/python client/client.py, or ".replace("client/client.py", CLIENT)
    expected = own if (ROOT / ".venv" / "bin" / "python").exists() else ""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"client: needs httpx: {expected}pip install httpx\n"


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    assert printable(text).isprintable()


@given(
    st.lists(st.tuples(st.text(), st.text(), st.integers().map(str)), min_size=1, max_size=5),
    st.integers(60, 200),
)
def test_no_row_is_wider_than_the_table(rows: list[tuple[str, str, str]], width: int) -> None:
    cells = [(printable(one), printable(two), three[:40]) for one, two, three in rows]

    lines = table(cells, width, left=2)

    assert len(lines) == len(rows)
    assert all(width_of(line) <= width for line in lines)


@pytest.mark.parametrize(
    ("text", "columns"), [("cat", 3), ("", 0), ("犬", 2), ("e\u0301", 1), ("🐱 cat", 6)]
)
def test_wide_letters_count_twice_and_accents_not_at_all(text: str, columns: int) -> None:
    assert width_of(text) == columns
    assert width_of(pad(text, 9)) == 9


def test_a_cut_text_shows_that_it_is_cut() -> None:
    assert cut("airplane, cat, dog", 18) == "airplane, cat, dog"
    assert cut("airplane, cat, dog", 17) == "airplane, cat..."


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("web;dur=1.5", {"web": 1.5}),
        ('inference;dur=12;desc="inference-7f9c-x2", web; dur=1', {"inference": 12, "web": 1}),
        ("decode;dur=3", {}),
        ("web;dur=x", {}),
        ("", {}),
    ],
)
def test_the_tiers_times_are_read_from_server_timing(header: str, found: dict[str, float]) -> None:
    assert read_tiers_ms(header) == found
