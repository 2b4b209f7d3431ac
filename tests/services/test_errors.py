"""Each row of the error table, over real sockets, with the real services."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack
from tests.support.pictures import encode, plain, png_bomb
from tests.support.tiny import write_tiny_model
from tests.support.waiting import in_flight, wait_until

MAX_BODY = 300_000
LIMITS = {"MAX_BODY_BYTES": str(MAX_BODY)}
JPEG = encode(plain(64, 48), "JPEG")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services with the tiny model and small limits."""
    folder = tmp_path_factory.mktemp("errors")
    env = {"web": {**LIMITS, "MAX_IN_FLIGHT": "2"}, "preprocess": LIMITS}
    model = write_tiny_model(folder / "model")
    with Stack(model=model, logs=folder, env=env) as running:
        yield running


@pytest.fixture(scope="module")
def web(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.web.url, timeout=60) as client:
        yield client


def post(web: httpx.Client, picture: bytes, **query: str) -> httpx.Response:
    return web.post("/inference", files={"image": ("a.jpg", picture)}, params=query)


def assert_problem(response: httpx.Response, status: int, detail: str) -> None:
    """Status and body agree, the uid is the request's, and nothing internal is revealed."""
    problem = response.json()
    assert response.status_code == problem["status"] == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert re.search(detail, problem["detail"]), problem["detail"]
    assert problem["uid"] == response.headers["x-request-id"]
    assert not re.search(r"Traceback|127\.0\.0\.1|localhost|/services/|\.py", response.text)


@contextmanager
def stopped(service: Service) -> Iterator[None]:
    """Freeze a service: its connections stay open and it never responds."""
    os.kill(service.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(service.process.pid, signal.SIGCONT)


def test_a_valid_picture_is_processed(web: httpx.Client) -> None:
    answer = post(web, JPEG)

    assert answer.status_code == 200
    assert answer.json()["data"][0][0] == "square"


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b"", {"Content-Type": "image/jpeg"}, 400, "the picture is empty"),
        (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "no field 'image'"),
        (b"nonsense", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "form cannot be"),
        (b"--x", {"Content-Type": "multipart/form-data"}, 400, "without a boundary"),
        (JPEG, {"Content-Type": "image/jpeg", "X-Timeout-Ms": "soon"}, 400, "X-Timeout-Ms"),
        (JPEG, {}, 415, "the request has no Content-Type: send "),
        (
            b"{}",
            {"Content-Type": "application/json"},
            415,
            "Content-Type 'application/json' is not accepted: send ",
        ),
        (
            b"<html></html>",
            {"Content-Type": "image/jpeg"},
            415,
            "not an accepted picture format: expected JPEG, PNG, WebP or BMP",
        ),
        (
            b"GIF89a" + bytes(99),
            {"Content-Type": "image/gif"},
            415,
            "not an accepted picture format",
        ),
        (JPEG[:-40], {"Content-Type": "image/jpeg"}, 422, "truncated"),
        (b"x" * (MAX_BODY + 1), {"Content-Type": "image/jpeg"}, 413, "limit of 300,000 bytes"),
        (png_bomb(20_000, 15_000), {"Content-Type": "image/png"}, 413, "300,000,000 pixels"),
        (JPEG, {"Content-Type": "image/jpeg", "X-Timeout-Ms": "0"}, 504, "deadline has passed"),
    ],
)
def test_an_invalid_body_has_its_status(
    web: httpx.Client, body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    assert_problem(web.post("/inference", content=body, headers=headers), status, detail)


def test_html_named_jpg_is_recognised_by_its_content(web: httpx.Client) -> None:
    files = {"image": ("cat.jpg", b"<html><body>a cat</body></html>", "image/jpeg")}

    assert_problem(web.post("/inference", files=files), 415, "not an accepted picture format")


def test_a_picture_named_html_is_recognised_by_its_content(web: httpx.Client) -> None:
    response = web.post("/inference", files={"image": ("index.html", JPEG, "text/html")})

    assert response.status_code == 200


def test_a_wrong_field_name_is_explained(web: httpx.Client) -> None:
    response = web.post("/inference", files={"picture": ("a.jpg", JPEG)})

    assert_problem(response, 400, "no field 'image': send multipart/form-data with a field 'image'")


def test_a_body_without_a_length_is_refused_at_the_limit(web: httpx.Client) -> None:
    endless = (b"x" * 10_000 for _ in range(1000))

    response = web.post("/inference", content=endless, headers={"Content-Type": "image/jpeg"})

    assert_problem(response, 413, "limit of 300,000 bytes")


def test_thousands_of_form_fields_are_refused(web: httpx.Client) -> None:
    fields = {f"field{i}": "x" for i in range(1000)}

    response = web.post("/inference", data=fields, files={"image": ("a.jpg", JPEG)})

    assert_problem(response, 400, "more than 32 fields")


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan", "much"])
@pytest.mark.parametrize("name", ["threshold", "iou"])
def test_a_parameter_out_of_range_is_refused(web: httpx.Client, name: str, value: str) -> None:
    assert_problem(post(web, JPEG, **{name: value}), 422, name)


@pytest.mark.parametrize("name", ["absent", "../../etc", "tiny/versions/9"])
def test_an_unknown_model_is_not_found(web: httpx.Client, name: str) -> None:
    assert_problem(post(web, JPEG, model=name), 404, "no model .* here")


def test_a_damaged_picture_with_a_valid_header_is_refused(web: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encode(noise, "PNG"))
    data[3000:3200] = bytes(200)

    assert_problem(post(web, bytes(data)), 422, "the PNG file is damaged: the IDAT chunk")


@pytest.mark.parametrize("path", ["/nothing", "/inference/", "/v2"])
def test_an_unknown_route_is_not_found(web: httpx.Client, path: str) -> None:
    assert_problem(web.get(path), 404, "Not Found")


def test_a_wrong_method_is_refused(web: httpx.Client) -> None:
    assert_problem(web.get("/inference"), 405, "Method Not Allowed")


def test_a_frozen_service_costs_only_the_callers_budget(stack: Stack, web: httpx.Client) -> None:
    post(web, JPEG)  # preprocess caches the model's metadata
    with stopped(stack.inference):
        response = web.post("/inference", files={"image": JPEG}, headers={"X-Timeout-Ms": "300"})

    assert_problem(response, 504, "did not answer in time|deadline")
    assert response.elapsed.total_seconds() < 5
    assert post(web, JPEG).status_code == 200


def test_one_picture_too_many_is_refused_with_retry_after(stack: Stack, web: httpx.Client) -> None:
    """Two may be in flight; the next service is frozen, so they stay in flight."""
    with ThreadPoolExecutor() as threads:
        with stopped(stack.preprocess):
            busy = [threads.submit(post, web, JPEG) for _ in range(2)]
            wait_until(lambda: in_flight(stack.web.url) == 2, "two in flight")
            response = post(web, JPEG)
        answers = [future.result().status_code for future in busy]

    assert_problem(response, 429, "2 pictures in flight")
    assert int(response.headers["retry-after"]) >= 1
    assert answers == [200, 200]


def test_an_aborted_upload_releases_its_slot(stack: Stack, web: httpx.Client) -> None:
    """The caller sends a part of the body and closes the connection."""
    head = (
        b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"Content-Length: 5000\r\n\r\nhalf"
    )
    with socket.create_connection(("127.0.0.1", stack.web.port)) as connection:
        connection.sendall(head)
        wait_until(lambda: in_flight(stack.web.url) == 1, "the half request arrives")
    wait_until(lambda: in_flight(stack.web.url) == 0, "its slot is free")

    assert post(web, JPEG).status_code == 200


def test_a_stalled_body_is_refused_at_its_deadline(stack: Stack) -> None:
    head = (
        b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
        b"X-Timeout-Ms: 200\r\nContent-Length: 5000\r\n\r\nhalf"
    )
    with socket.create_connection(("127.0.0.1", stack.web.port), timeout=60) as connection:
        connection.sendall(head)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"did not arrive in time: the time of the request is over (X-Timeout-Ms, or" in answer


def test_web_is_unavailable_while_inference_is_down(tmp_path: Path) -> None:
    """It stays ready: nobody else could tell callers so."""
    model = write_tiny_model(tmp_path / "model")
    env = {"preprocess": {"HOLD_S": "0.2"}}
    with (
        Stack(model=model, logs=tmp_path, env=env) as stack,
        httpx.Client(base_url=stack.web.url, timeout=60) as web,
    ):
        assert post(web, JPEG).status_code == 200
        stack.inference.stop()

        down = post(web, JPEG)
        ready, live = web.get("/readyz"), web.get("/livez")
        status = web.get("/health/status")

        again_there = ("inference", stack.inference.port, stack.inference.env, tmp_path / "again")
        with Service(*again_there) as inference:
            inference.wait_ready()
            wait_until(lambda: post(web, JPEG).status_code == 200, "pictures pass again")
            again = web.get("/health/status")

    assert_problem(down, 503, "the inference service cannot be reached")
    assert_problem(status, 503, "the inference service cannot be reached")
    assert (ready.status_code, live.status_code, again.status_code) == (200, 200, 200)
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "Traceback" not in logs
