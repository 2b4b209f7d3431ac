"""Clients that offer HTTP/2 by default or on demand: Java's HttpClient and `curl --http2`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import ROOT, Stack
from services.inference.protocol import HEADER_LENGTH
from tests.support.pictures import encode, plain
from tests.support.tiny import CELL, SCORE, write_tiny_model

JPEG = encode(plain(64, 48), "JPEG")
PROGRAM = ROOT / "tests" / "support" / "java" / "Detect.java"
JAVA, CURL = shutil.which("java"), shutil.which("curl")
MISSING = 'run "make http-clients"; this client is NOT tested'
needs_java = pytest.mark.skipif(JAVA is None, reason=f"java is missing: {MISSING}")


def curl_has_http2() -> bool:
    if CURL is None:
        return False
    version = subprocess.run([CURL, "--version"], capture_output=True, text=True, check=True)
    return "HTTP2" in version.stdout


needs_curl = pytest.mark.skipif(not curl_has_http2(), reason=f"curl has no HTTP/2: {MISSING}")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("clients")
    with Stack(model=write_tiny_model(folder / "model"), logs=folder) as running:
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    return path


@pytest.fixture
def tensor(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A request in the binary tensor extension, and its headers."""
    pixels = np.zeros((1, CELL, CELL, 3), np.uint8)
    described = {
        "name": "images",
        "datatype": "UINT8",
        "shape": pixels.shape,
        "parameters": {"binary_data_size": pixels.nbytes},
    }
    head = json.dumps({"inputs": [described]}).encode()
    path = tmp_path / "tensor"
    path.write_bytes(head + pixels.tobytes())
    return path, {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}


def run_java(url: str, body: Path, headers: dict[str, str]) -> list[Any]:
    """Return what two requests with the same client were answered; both must have status 200."""
    pairs = [text for header in headers.items() for text in header]
    command = [str(JAVA), str(PROGRAM), url, str(body), *pairs]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == ["200", "200"], done.stdout
    return [json.loads(body) for _, body in answers]


def run_curl(*arguments: str) -> Any:
    """Return the answer to a request that offers HTTP/2."""
    command = [str(CURL), "--http2", "--silent", "--show-error", "--fail-with-body", *arguments]
    done = subprocess.run(command, capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.mark.long
@needs_java
def test_java_gets_boxes_from_web(stack: Stack, picture: Path) -> None:
    answers = run_java(f"{stack.web.url}/inference", picture, {"Content-Type": "image/jpeg"})

    assert [answer["data"][0][0] for answer in answers] == ["square", "square"]


@pytest.mark.long
@needs_java
def test_java_gets_boxes_from_inference(stack: Stack, tensor: tuple[Path, dict[str, str]]) -> None:
    answers = run_java(f"{stack.inference.url}/v2/models/tiny/infer", *tensor)

    for answer in answers:
        assert answer["outputs"][0]["data"][4] == pytest.approx(SCORE, abs=1e-3)


@needs_curl
def test_curl_gets_boxes_from_web(stack: Stack, picture: Path) -> None:
    url = f"{stack.web.url}/inference"
    form = run_curl("--form", f"image=@{picture}", url)
    body = run_curl("--header", "Content-Type: image/jpeg", "--data-binary", f"@{picture}", url)
    chunks = ["--header", "Transfer-Encoding: chunked", "--header", "Expect: 100-continue"]
    streamed = run_curl(
        *chunks, "--header", "Content-Type: image/jpeg", "--data-binary", f"@{picture}", url
    )

    assert form["data"] == body["data"] == streamed["data"]
    assert form["data"][0][0] == "square"


@needs_curl
def test_curl_gets_boxes_from_inference(stack: Stack, tensor: tuple[Path, dict[str, str]]) -> None:
    path, headers = tensor
    options = [text for name, value in headers.items() for text in ("--header", f"{name}: {value}")]
    url = f"{stack.inference.url}/v2/models/tiny/infer"
    answer = run_curl(*options, "--data-binary", f"@{path}", url)

    assert answer["outputs"][0]["data"][4] == pytest.approx(SCORE, abs=1e-3)
