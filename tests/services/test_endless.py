"""What has no end: framing, trailers, late bodies, requests that wait, responses nobody reads."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, Service, Stack
from services.common.core.connection import MAX_FRAMING_BYTES, MAX_HEAD_BYTES, MAX_HEADERS
from tests.support.pictures import encode, plain
from tests.support.raw import chunked, connected, exchange, request
from tests.support.tiny import write_tiny_model

JPEG = encode(plain(64, 48), "JPEG")
TYPE = "Content-Type: image/jpeg"
GET = request("/livez", method="GET")
ALIVE = {"status": "alive"}
PATHS = {"web": "/inference", "preprocess": "/process", "inference": "/v2/models/tiny/infer"}
# A request may take so long, and a caller may take as long to read the response.
TIMEOUT_MS = 1500


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("endless")
    env = {name: {"REQUEST_TIMEOUT_MS": str(TIMEOUT_MS)} for name in PATHS}
    env["inference"]["REQUEST_TIMEOUT_MS"] = "30000"  # the golden picture at the start
    with Stack(model=write_tiny_model(folder / "model"), logs=folder, env=env) as running:
        yield running


def is_ended(service: Service, begin: bytes, filler: bytes, size: int = 20_000_000) -> bool:
    """Return whether the service ends a connection that goes on with `size` bytes of filler."""
    with socket.create_connection((LOOPBACK, service.port), timeout=60) as connection:
        try:
            connection.sendall(begin)
            for _ in range(size // len(filler)):
                connection.sendall(filler)
        except TimeoutError:
            return False
        except OSError:
            return True
    return False


FRAMING = {
    "trailers": (b"1\r\na\r\n0\r\n", b"x: y\r\n" * 10_000),
    "trailer value": (b"1\r\na\r\n0\r\nx: ", b"a" * 65_536),
    "trailer name": (b"1\r\na\r\n0\r\n", b"a" * 65_536),
    "chunk extension": (b"1;x=", b"a" * 65_536),
    "chunk extensions": (b"", (b"1;" + b"x" * 500 + b"\r\na\r\n") * 100),
    "zeros of a chunk size": (b"", (b"0" * 15 + b"1\r\na\r\n") * 3000),
    "chunks of a byte": (b"", b"1\r\na\r\n" * 10_000),
}


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", FRAMING.values(), ids=FRAMING)
def test_endless_framing_ends_the_connection(
    stack: Stack, name: str, kind: tuple[bytes, bytes]
) -> None:
    head = request(PATHS[name], [TYPE, "Transfer-Encoding: chunked"])

    assert is_ended(getattr(stack, name), head + kind[0], kind[1])


@pytest.mark.parametrize("kind", FRAMING.values(), ids=FRAMING)
def test_endless_framing_behind_an_early_response_ends_the_connection(
    stack: Stack, kind: tuple[bytes, bytes]
) -> None:
    head = request("/livez", ["Transfer-Encoding: chunked"], method="GET")

    assert is_ended(stack.web, head + kind[0], kind[1], 40_000_000)


def test_the_limit_on_framing_is_named(stack: Stack) -> None:
    with connected(stack.web) as connection:
        head = request("/inference", [TYPE, "Transfer-Encoding: chunked"])
        connection.send(head + b"1;" + b"x" * (MAX_FRAMING_BYTES + 9000))
        response = connection.read_response()

        assert response.status == 400
        assert f"exceed the limit of {MAX_FRAMING_BYTES:,} bytes" in response.detail
        assert connection.read_to_the_end() == b""


@pytest.mark.parametrize(
    "trailers",
    [b"X-Timeout-Ms: 1\r\nContent-Type: text/plain\r\n", b"x: " + b"y" * 60_000 + b"\r\n"],
)
def test_trailers_are_ignored(stack: Stack, trailers: bytes) -> None:
    sent = chunked("/inference", [TYPE], JPEG, 100, trailers)
    with connected(stack.web) as connection:
        connection.send(sent + GET)

        assert connection.read_response().json()["data"]
        assert connection.read_response().json() == ALIVE


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100, 4096, 100_000])
def test_a_picture_may_come_in_chunks_of_any_size(stack: Stack, chunk_bytes: int) -> None:
    with connected(stack.web) as connection:
        connection.send(chunked("/inference", [TYPE], JPEG, chunk_bytes) + GET)

        assert connection.read_response().json()["data"][0][0] == "square"
        assert connection.read_response().json() == ALIVE


def test_a_large_picture_may_come_in_chunks_of_100_bytes(stack: Stack) -> None:
    """18 MB: a million bytes of framing."""
    picture = encode(plain(3000, 2000), "BMP")
    response = exchange(
        stack.web, chunked("/inference", [TYPE, "X-Timeout-Ms: 60000"], picture, 100)
    )

    # A slow machine may need more than the time limit; the framing is never the reason.
    assert response.status in (200, 504), response.body


@pytest.mark.parametrize(
    "content", [b"\r\n\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"]
)
@pytest.mark.parametrize("chunk_bytes", [10, 999, 100_000])
def test_a_body_full_of_blank_lines_is_one_body(
    stack: Stack, content: bytes, chunk_bytes: int
) -> None:
    body = content * (50_000 // len(content))
    with connected(stack.web) as connection:
        connection.send(chunked("/inference", [TYPE], body, chunk_bytes))
        assert connection.read_response().status == 415
        connection.send(GET)
        assert connection.read_response().json() == ALIVE


@pytest.mark.parametrize("cut", range(1, 60, 3))
def test_requests_are_told_apart_wherever_packets_end(stack: Stack, cut: int) -> None:
    """The end of a chunked body, empty lines, and the next two heads, in packets of `cut` bytes."""
    sent = chunked("/inference", [TYPE], JPEG, 300, b"a: b\r\n") + b"\r\n\r\n" + GET
    sent += request("/livez", ["Connection: Upgrade", "Upgrade: h2c"], b"body") + GET
    begin, rest = sent[:-250], sent[-250:]
    with connected(stack.web) as connection:
        connection.send(begin, *(rest[at : at + cut] for at in range(0, len(rest), cut)))

        assert connection.read_response().json()["data"]
        assert connection.read_response().json() == ALIVE
        assert connection.read_response().status == 405  # POST /livez
        assert connection.read_response().json() == ALIVE


def test_thousands_of_requests_in_one_packet_are_answered_in_order(stack: Stack) -> None:
    paths = ["/livez", "/health/ping"] * 1000
    with connected(stack.web) as connection:
        connection.send(b"".join(request(path, method="GET") for path in paths))
        answers = [connection.read_response().json() for _ in paths]

    assert answers == [ALIVE, "pong"] * 1000


def test_a_malformed_request_is_refused_behind_the_response_to_the_one_before(stack: Stack) -> None:
    with connected(stack.web) as connection:
        connection.send(request("/inference", [TYPE], JPEG) + b"nonsense\r\n\r\n" + GET)

        assert connection.read_response().json()["data"]
        assert connection.read_response().status == 400
        assert connection.read_to_the_end() == b""


@pytest.mark.parametrize("lines", [1, 2, 1000])
def test_empty_lines_between_requests_are_ignored(stack: Stack, lines: int) -> None:
    with connected(stack.web) as connection:
        connection.send(GET + b"\r\n" * lines + GET)

        assert connection.read_response().json() == ALIVE
        assert connection.read_response().json() == ALIVE


def test_endless_empty_lines_end_the_connection(stack: Stack) -> None:
    assert is_ended(stack.web, GET, b"\r\n" * 10_000)
    with connected(stack.web) as connection:
        connection.send(b"\r\n" * (MAX_HEAD_BYTES // 2 + 1))

        assert f"head exceeds the limit of {MAX_HEAD_BYTES:,}" in connection.read_response().detail


def test_too_many_headers_are_refused(stack: Stack) -> None:
    few = exchange(stack.web, request("/livez", ["a:b"] * (MAX_HEADERS - 1), method="GET"))
    many = exchange(stack.web, request("/livez", ["a:b"] * MAX_HEADERS, method="GET"))

    assert few.status == 200
    assert f"more than {MAX_HEADERS} headers" in many.detail


@pytest.mark.long
def test_a_body_that_trickles_behind_an_early_response_is_cut_off(stack: Stack) -> None:
    """The route is unknown, so the response comes first; then nothing more of the body."""
    with connected(stack.web) as connection:
        connection.send(request("/unknown", ["Content-Length: 1000"]) + b"begin")

        assert connection.read_response().status == 404
        assert connection.read_to_the_end() == b""


def test_a_caller_that_expects_100_continue_and_is_refused_may_not_go_on(stack: Stack) -> None:
    """It may never send the body, so its next request would be taken for it."""
    headers = ["Expect: 100-continue", "Content-Length: 25000000", TYPE]
    with connected(stack.web) as connection:
        connection.send(request("/inference", headers))

        assert connection.read_response().status == 413
        assert connection.read_to_the_end() == b""


def test_a_caller_that_expects_100_continue_is_told_to(stack: Stack) -> None:
    headers = ["Expect: 100-continue", f"Content-Length: {len(JPEG)}", TYPE]
    with connected(stack.web) as connection:
        connection.send(request("/inference", headers))
        assert connection.read_response().status == 100
        connection.send(JPEG)
        assert connection.read_response().json()["data"]


def test_a_caller_that_does_not_read_is_cut_off(stack: Stack) -> None:
    """It sends requests until nothing moves any more; then the service ends the connection."""
    requests = request("/openapi.json", method="GET") * 100

    assert is_ended(stack.web, b"", requests, 10**9)
