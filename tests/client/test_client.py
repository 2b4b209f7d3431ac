"""The client as a user runs it, against the real services."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.client import find_fault
from client.truth import Truth, iou
from elastic_yolo.lab.processes.stack import ROOT, Service, Stack, free_port
from tests.client.running import GOOD, run, start
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("client")
    with Stack(model=write_tiny_model(folder / "model"), logs=folder) as running:
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "square.png"
    path.write_bytes(encode(plain(320, 320)))
    return path


def test_one_picture_prints_a_table_of_its_objects_and_a_summary(
    stack: Stack, picture: Path
) -> None:
    status, out, err = run("--url", stack.web.url, "--image", str(picture))

    assert (status, err) == (0, "")
    first, _, head, square, _, summary, latency = out.splitlines()
    assert re.fullmatch(r"1/1  square\.png    1 object +\d+ ms", first)
    assert head.split() == ["object", "score", "centre", "x", "centre", "y", "width", "height"]
    assert square.split() == ["square", "0.935", "160.0", "160.0", "160.0", "80.0"]
    assert summary == "1 request (200: 1), 0 failed"
    assert re.fullmatch(r"latency in ms: p50 \d+, p95 \d+, p99 \d+, max \d+", latency)


def test_raw_prints_the_response_as_the_tutorial_does(stack: Stack, picture: Path) -> None:
    status, out, err = run("--url", stack.web.url, "--image", str(picture), "--raw")

    assert (status, err) == (0, "")
    found = re.fullmatch(r"Response: (b'.*')\n", out)
    assert found
    answer = json.loads(ast.literal_eval(found[1]))
    assert answer["data"] == [["square", pytest.approx(0.9354, abs=1e-3), [160, 160, 160, 80]]]
    assert answer["success"] == "true"


def test_random_pictures_come_from_the_clients_folder(stack: Stack) -> None:
    status, out, _ = run("--url", stack.web.url, "--count", "5", "--rate", "20")

    assert status == 0
    names = re.findall(r"^\d/5  (scene-\S+)", out, re.MULTILINE)
    assert len(names) == 5
    assert all((ROOT / "client" / "images" / name).exists() for name in names)
    assert "5 requests (200: 5), 0 failed" in out


def test_save_writes_the_picture_with_boxes(stack: Stack, picture: Path, tmp_path: Path) -> None:
    status, _, _ = run(
        "--url", stack.web.url, "--image", str(picture), "--save", str(tmp_path / "out")
    )

    assert status == 0
    assert (tmp_path / "out" / "square.jpg").read_bytes().startswith(b"\xff\xd8\xff")


def test_a_rejected_picture_is_a_failure(stack: Stack, tmp_path: Path) -> None:
    page = tmp_path / "page.jpg"
    page.write_text("<html></html>")

    status, out, _ = run("--url", stack.web.url, "--image", str(page))

    assert status == 1
    assert "1/1  page.jpg  status 415: " in out
    assert "1 request (415: 1), 1 failed" in out


def test_an_unreachable_server_is_one_line() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    status, out, err = run("--url", url)

    assert (status, out) == (1, "")
    reason = "cannot be reached (Connection refused)"
    assert err == f"client: {url} {reason}; --wait SECONDS keeps trying\n"


def test_an_address_with_the_route_is_named() -> None:
    status, _, err = run("--url", "http://127.0.0.1:5000/inference")

    assert status == 2
    assert "expected the address without /inference" in err


def test_wait_tries_until_the_server_is_ready(tmp_path: Path, picture: Path) -> None:
    inference = Service(
        "inference",
        free_port(),
        {"MODEL_PATH": str(write_tiny_model(tmp_path / "model"))},
        tmp_path / "inference.log",
    )
    preprocess = Service(
        "preprocess", free_port(), {"INFERENCE_URL": inference.url}, tmp_path / "preprocess.log"
    )
    web = Service("web", free_port(), {"PREPROCESS_URL": preprocess.url}, tmp_path / "web.log")
    client = start("--url", web.url, "--image", str(picture), "--wait", "60")
    assert client.stderr
    assert "cannot be reached (Connection refused), trying again" in client.stderr.readline()

    with inference, preprocess, web:
        out, _ = client.communicate(timeout=90)

    assert client.returncode == 0
    assert "1 request (200: 1), 0 failed" in out


def test_failures_after_the_server_stops_are_counted(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / "model")
    with Stack(model=model, logs=tmp_path) as stack:
        client = start("--url", stack.web.url, "--count", "0")
        assert client.stdout
        wait_until(lambda: "scene-" in client.stdout.readline(), "the first response")
        stack.web.stop()
        wait_until(lambda: "no response" in client.stderr.readline(), "a failure is reported")
        client.send_signal(2)
        out, err = client.communicate(timeout=120)

    assert client.returncode == 1
    assert re.search(r"\d+ requests \(200: \d+(, \w+: \d+)+\), \d+ failed", out)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [["--rate", "0"], ["--count", "-1"], ["--image", "/absent.jpg"], ["--all", "--image", "/x"]],
)
def test_wrong_usage_ends_with_two(arguments: list[str]) -> None:
    status, _, err = run(*arguments)

    assert status == 2
    assert "usage: client.py" in err


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"data": []}, None),
        ({"success": "false"}, "success"),
        ({"uid": "123"}, "uid"),
        ({"data": None}, "data"),
        ({"data": [["cat", 0.9]]}, "entry"),
        ({"data": [["cat", 1.9, [1, 2, 3, 4]]]}, "entry"),
        ({"data": [["cat", 0.9, [1, 2, 3, "4"]]]}, "entry"),
    ],
)
def test_the_structure_of_a_response_is_checked(
    change: dict[str, object], fault: str | None
) -> None:
    found = find_fault({**GOOD, **change})

    assert found is None if fault is None else fault in str(found)


def test_each_object_needs_its_own_detection() -> None:
    truth = Truth([("cat", [10, 10, 10, 10]), ("cat", [11, 10, 10, 10]), ("dog", [50, 50, 9, 9])])

    assert truth.count_found([("cat", 0.9, [10, 10, 10, 10])]) == 1
    assert truth.count_found([("cat", 0.9, [10, 10, 10, 10]), ("cat", 0.8, [11, 11, 10, 9])]) == 2
    assert truth.count_found([("dog", 0.9, [50, 50, 3, 3]), ("cat", 0.9, [50, 50, 9, 9])]) == 0


def test_overlap_of_known_boxes() -> None:
    assert iou([0, 0, 2, 2], [1, 0, 2, 2]) == pytest.approx(1 / 3)
    assert iou([0, 0, 2, 2], [5, 5, 2, 2]) == 0


def test_pictures_names_another_folder_and_its_ground_truth(
    stack: Stack, picture: Path, tmp_path: Path
) -> None:
    truth = {"square.png": {"objects": [["square", [160, 160, 160, 80]]]}}
    (tmp_path / "truth.json").write_text(json.dumps(truth))

    status, out, err = run("--url", stack.web.url, "--pictures", str(tmp_path), "--all")

    assert (status, err) == (0, "")
    assert re.findall(r"^1/1  (\S+)", out, re.MULTILINE) == [picture.name]
    assert "ground truth: 1 of 1 objects found (100%)" in out


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"a.png": {}}', '{"a.png": {"objects": [["a", [1]]]}}']
)
def test_a_damaged_ground_truth_is_one_line(picture: Path, text: str) -> None:
    truth = picture.parent / "truth.json"
    truth.write_text(text)

    status, out, err = run("--pictures", str(picture.parent))

    assert (status, out) == (2, "")
    assert err == f"client: {truth}: not of the form in client/images/README.md\n"
