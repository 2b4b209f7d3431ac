"""Limits on a connection: heads, idle time, malformed data, number of connections, bodies."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, Service, Stack
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
HEAD = b"POST /inference HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
MAX_CONNECTIONS = 20


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The three services; web allows 1.5 s for a request and 20 connections."""
    folder = tmp_path_factory.mktemp("connection")
    env = {
        "web": {
            "REQUEST_TIMEOUT_MS": "1500",
            "MAX_CONNECTIONS": str(MAX_CONNECTIONS),
            "MAX_HELD_BYTES": "300000",
            "MAX_BODY_BYTES": "200000",
        }
    }
    model = write_tiny_model(folder / "model")
    with Stack(model=model, logs=folder, env=env) as running:
        yield running


def connect(service: Service) -> socket.socket:
    return socket.create_connection((LOOPBACK, service.port), timeout=60)


def read_response(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of a response that ends with the connection."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


def assert_problem(connection: socket.socket, status: int, detail: str) -> None:
    found, headers, body = read_response(connection)
    problem = json.loads(body)

    assert found == problem["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert detail in problem["detail"]
    assert problem["uid"] == headers["x-request-id"]


@pytest.mark.parametrize(
    "line", [b"X-Filler: " + b"a" * 100, b"X-Filler: "], ids=["many headers", "one long header"]
)
def test_an_endless_head_is_refused(stack: Stack, line: bytes) -> None:
    with connect(stack.web) as connection:
        connection.sendall(HEAD + line)
        filler = (b"\r\n" + line if line.endswith(b"a") else b"a" * 112) * 100
        try:
            for _ in range(1000):  # eleven megabytes
                connection.sendall(filler)
        except OSError:
            pass  # the response has been sent, and the connection closed
        else:
            pytest.fail("eleven megabytes of headers were accepted")


def test_a_head_that_is_too_large_is_refused_with_the_limit(stack: Stack) -> None:
    with connect(stack.web) as connection:
        connection.sendall(HEAD + b"X-Filler: " + b"a" * 70_000 + b"\r\n\r\n")
        assert_problem(connection, 400, "head exceeds the limit of 65,536 bytes")


def test_an_incomplete_head_is_refused_after_the_timeout(stack: Stack) -> None:
    with connect(stack.web) as connection:
        connection.sendall(HEAD)
        assert_problem(connection, 504, "head did not arrive in 1.5 s")


def test_a_silent_connection_is_refused_after_the_timeout(stack: Stack) -> None:
    with connect(stack.web) as connection:
        assert_problem(connection, 504, "head did not arrive in 1.5 s")


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03"])
def test_malformed_http_gets_a_problem_document(stack: Stack, data: bytes) -> None:
    """For example a TLS handshake on a port for plain HTTP."""
    with connect(stack.web) as connection:
        connection.sendall(data)
        assert_problem(connection, 400, "malformed HTTP request")


def test_an_idle_connection_outlives_the_head_timeout(stack: Stack) -> None:
    """The timeout is for heads that have begun, not for the time between requests."""
    with httpx.Client(base_url=stack.web.url) as client:
        first = client.get("/livez")
        stream = first.extensions["network_stream"].get_extra_info("client_addr")
        with connect(stack.web) as silent:
            read_response(silent)  # takes as long as the timeout
        second = client.get("/livez")

        assert second.extensions["network_stream"].get_extra_info("client_addr") == stream


def test_one_connection_too_many_is_refused_and_others_are_served(stack: Stack) -> None:
    with ExitStack() as opened, httpx.Client(base_url=stack.web.url) as client:
        assert client.get("/livez").status_code == 200
        for _ in range(MAX_CONNECTIONS - 1):
            opened.enter_context(connect(stack.web))
        with connect(stack.web) as refused:
            assert_problem(refused, 503, "more than 20 connections are open")
        assert client.get("/livez").status_code == 200
    wait_until(
        lambda: httpx.get(f"{stack.web.url}/livez").status_code == 200,
        "another connection is accepted",
    )


def test_stalled_uploads_take_no_slot(tmp_path: Path) -> None:
    """Two pictures may be in flight, and five uploads have stalled."""
    env = {"web": {"MAX_IN_FLIGHT": "2"}}
    model = write_tiny_model(tmp_path / "model")
    with Stack(model=model, logs=tmp_path, env=env) as stack, ExitStack() as opened:
        for _ in range(5):
            connection = opened.enter_context(connect(stack.web))
            connection.sendall(HEAD + b"Content-Length: 5000\r\n\r\nhalf")

        answer = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})

    assert answer.status_code == 200


def test_all_bodies_together_have_a_limit(stack: Stack) -> None:
    """Two unfinished uploads hold 280 of 300 KB, so a third of 140 KB is refused."""
    large = b"x" * 140_000
    upload = HEAD + b"Content-Length: 150000\r\n\r\n" + large
    with connect(stack.web) as first, connect(stack.web) as second:
        first.sendall(upload)
        second.sendall(upload)

        def is_full() -> bool:
            answer = httpx.post(
                f"{stack.web.url}/inference", content=large, headers={"Content-Type": "image/jpeg"}
            )
            return answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1

        wait_until(is_full, "a third large body is refused")
        small = httpx.post(f"{stack.web.url}/inference", files={"image": JPEG})
    wait_until(lambda: not is_full(), "their bytes are released")

    assert small.status_code == 200


def test_a_refused_body_does_not_break_the_connection(stack: Stack) -> None:
    """The response is sent before the body has arrived; the rest of the body is discarded."""
    with httpx.Client(base_url=stack.web.url) as client:
        refused = client.post(
            "/inference", content=b"x" * 250_000, headers={"Content-Type": "image/jpeg"}
        )
        answer = client.post("/inference", files={"image": JPEG})

    assert refused.status_code == 413
    assert answer.status_code == 200
