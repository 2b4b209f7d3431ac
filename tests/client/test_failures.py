"""Every failure is one line and exit status 1, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from client.client import find_fault
from tests.client.running import GOOD, run, start
from tests.support.pictures import encode, plain
from tests.support.scripted_server import OK, Response, serve
from tests.support.waiting import wait_until


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "square.png"
    path.write_bytes(encode(plain(20, 20)))
    return path


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>welcome to the hotel</html>", "the response is not JSON"),
        (b"", "the response is not JSON"),
        (b"\xff\xfe\x00", "the response is not JSON"),
        (b"[" * 100_000, "the response is not JSON"),
        (b"9" * 5000, "the response is not JSON"),
        (b"[1, 2]", "the response lacks success"),
        (b"null", "the response lacks success"),
        (OK.replace(b"[]", b'{"0": 1}'), "the response lacks data"),
        (OK.replace(b"[]", b"[7]"), "an entry is not [label, score, [cx, cy, w, h]]: 7"),
    ],
    ids=["page", "empty", "no text", "deep", "long number", "list", "null", "no list", "no entry"],
)
def test_a_malformed_response_is_one_line(picture: Path, body: bytes, said: str) -> None:
    with serve(Response(body=body)) as server:
        status, out, err = run("--url", server.url, "--image", str(picture))

    assert (status, err) == (1, f"client: square.png: {said}\n")
    assert "1 request (200: 1), 1 failed" in out


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400, -1e300])
def test_coordinates_out_of_range_are_a_fault(number: float) -> None:
    """Python parses NaN, Infinity and numbers of any length as JSON."""
    answer = {**GOOD, "data": [["cat", 0.9, [1, 2, number, 4]]]}

    assert "entry" in str(find_fault(answer))


def test_a_closed_connection_is_one_line(picture: Path) -> None:
    with serve(Response(status=0)) as server:
        status, out, err = run("--url", server.url, "--image", str(picture))

    assert (status, err) == (1, "client: square.png: no response (RemoteProtocolError)\n")
    assert "1 request (RemoteProtocolError: 1), 1 failed" in out


def test_a_truncated_response_is_one_line(picture: Path) -> None:
    with serve(Response(headers={"Content-Length": "9000"})) as server:
        status, _, err = run("--url", server.url, "--image", str(picture))

    assert (status, err) == (1, "client: square.png: no response (RemoteProtocolError)\n")


def test_an_undecodable_response_is_one_line(picture: Path) -> None:
    with serve(Response(headers={"Content-Encoding": "gzip"})) as server:
        status, _, err = run("--url", server.url, "--image", str(picture))

    assert (status, err) == (1, "client: square.png: no response (DecodingError)\n")


def test_a_connection_closed_while_saving_is_one_line(picture: Path, tmp_path: Path) -> None:
    with serve(Response(), Response(status=0)) as server:
        status, _, err = run(
            "--url", server.url, "--image", str(picture), "--save", str(tmp_path / "out")
        )

    assert (status, err) == (1, "client: square.png: no response (RemoteProtocolError)\n")


def test_a_folder_that_cannot_be_created_is_one_line(picture: Path) -> None:
    """Its parent is a file."""
    with serve(Response()) as server:
        status, _, err = run(
            "--url", server.url, "--image", str(picture), "--save", str(picture / "out")
        )

    target = picture / "out" / "square.jpg"
    assert (status, err) == (
        1,
        f"client: square.png: cannot write {target} (Not a directory)\n",
    )


def test_a_file_that_cannot_be_written_is_one_line(picture: Path, tmp_path: Path) -> None:
    """A folder has its name."""
    target = tmp_path / "out" / "square.jpg"
    target.mkdir(parents=True)

    with serve(Response()) as server:
        status, _, err = run(
            "--url", server.url, "--image", str(picture), "--save", str(tmp_path / "out")
        )

    assert (status, err) == (1, f"client: square.png: cannot write {target} (Is a directory)\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/proc/self/mem", "cannot read /proc/self/mem: Input/output error"),
        ("/absent.jpg", "no such file: /absent.jpg"),
        ("/tmp", "no such file: /tmp"),  # noqa: S108
        ("/" + "x" * 300, "File name too long"),
    ],
    ids=["unreadable", "absent", "folder", "long name"],
)
def test_an_unreadable_picture_is_wrong_usage(path: str, said: str) -> None:
    status, _, err = run("--image", path)

    assert status == 2
    assert said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_picture_deleted_during_the_run_is_counted(picture: Path) -> None:
    with serve(Response()) as server:
        client = start("--url", server.url, "--image", str(picture), "--count", "0")
        wait_until(lambda: server.requests > 2, "pictures are sent")
        picture.unlink()
        assert client.stderr
        assert client.stderr.readline() == (
            "client: square.png: cannot be read (No such file or directory)\n"
        )
        client.send_signal(2)
        _, err = client.communicate(timeout=120)

    assert client.returncode == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("url", ["localhost:5000", "http://", "http://x:5x", "ftp://x"])
def test_an_invalid_url_is_wrong_usage(url: str) -> None:
    status, _, err = run("--url", url)

    assert status == 2
    assert "argument --url" in err.splitlines()[-1]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "a..b"])
def test_an_unknown_host_is_one_line(host: str) -> None:
    status, out, err = run("--url", f"http://{host}")

    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert "cannot be reached" in err
