"""HTTP/1.1 between the services: connections, their reuse, and their limits, on real sockets."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.common.peer.exchange import InvalidRequest, Request
from services.common.request.errors import DeadlineExceeded, RemoteProblem, Unavailable
from tests.support.misbehaving import PATIENCE_S, Call, Server, content_length, echo, response
from tests.support.peering import context, start_downstream, start_peer

pytestmark = pytest.mark.anyio

MIB = 2**20


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Run each test on both event loops: their transports differ, and services use uvloop."""
    return "asyncio", {"use_uvloop": request.param}


async def test_interim_responses_are_skipped() -> None:
    """An intermediary may send 100 Continue or 103 Early Hints before the response."""

    async def behave(call: Call) -> None:
        await call.write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await echo(call)

    async with start_downstream(behave) as (downstream, _):
        received = await downstream.peer.send(context(), "POST", "/x", content=[b"picture"])

    assert received.content == b'"picture"'
    assert "link" not in received.headers


async def test_an_unsolicited_response_is_not_taken_for_the_next() -> None:
    async def behave(call: Call) -> None:
        await call.write(response(200, f'"{call.body.decode()}"') + response(200, '"stray"'))

    async with start_downstream(behave) as (downstream, _):
        await downstream.send_each(10)


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    """Servers close idle connections, perhaps at the moment when one is used again."""

    async def respond_and_close(call: Call) -> None:
        await echo(call)
        call.writer.close()

    async with start_downstream(respond_and_close) as (downstream, (server,)):
        await downstream.send_each(20)

        assert len(server.calls) == 20
        assert downstream.count("ejected") == 0


async def test_the_name_in_a_tls_certificate_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_certificate: ssl.SSLContext
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    server = Server("127.0.0.1", echo, tls=own_certificate)
    async with server.running():
        async with start_peer(f"https://localhost:{server.port}") as downstream:
            assert await downstream.send("secret") == "secret"
            assert f"host: localhost:{server.port}\r\n" in server.calls[0].head
        async with start_peer(f"https://127.0.0.1:{server.port}") as downstream:
            with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                await downstream.send("secret")

    assert len(server.calls) == 1


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """A self-signed certificate for `localhost`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: TLS between services is NOT tested")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost".split()
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([openssl, *options, *names, *files], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_a_cancelled_request_closes_its_connection() -> None:
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        arrived.set()
        await call.wait_closed()
        closed.set()

    async with start_downstream(hold) as (downstream, _), asyncio.timeout(PATIENCE_S):
        sending = asyncio.create_task(downstream.send())
        await arrived.wait()
        sending.cancel()
        await closed.wait()


@pytest.mark.parametrize("char", ["\r", "\n", "\r\n", "\0"])
@pytest.mark.parametrize("part", ["name", "value", "target", "method"])
async def test_a_request_with_cr_lf_or_nul_is_never_sent(part: str, char: str) -> None:
    """Otherwise a header value could end the head and begin a request of its own."""
    parts = {"name": "x-name", "value": "value", "target": "/x", "method": "POST"}
    parts[part] = f"a{char}b"

    async with start_downstream(echo) as (downstream, (server,)):
        with pytest.raises(InvalidRequest, match=r"CR, LF or NUL in .*a.+b"):
            await downstream.peer.send(
                context(), parts["method"], parts["target"], headers={parts["name"]: parts["value"]}
            )

        assert server.calls == []
        assert downstream.total("failures") == 0


@pytest.mark.parametrize(
    ("target", "value", "reason"),
    [("/a b", "x", "space in the request line"), ("/x", "\N{EURO SIGN}", "not Latin-1")],
)
async def test_a_request_that_http_cannot_express_is_an_error(
    target: str, value: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        Request("GET", target, {"x-name": value}).encode_head("host")


async def test_headers_are_sent_in_latin_1() -> None:
    async with start_downstream(echo) as (downstream, (server,)):
        await downstream.peer.send(
            context(), "POST", "/x", headers={"x-city": "Zürich", "x-empty": ""}
        )

    assert "\r\nx-city: Zürich\r\nx-empty: \r\n" in server.calls[0].head


async def test_a_request_to_a_stalled_reader_ends_at_its_deadline() -> None:
    """Nothing reads the body, and only a small part of it is buffered here."""

    async def stall(_call: Call) -> None:
        await asyncio.Event().wait()

    body = bytes(64 * MIB)
    server = Server("127.0.0.2", stall, reads_body=False)
    async with server.running(), start_peer(server.url) as downstream:
        with traced_peak() as peak, pytest.raises(DeadlineExceeded, match="did not answer in time"):
            await downstream.peer.send(context(2000), "POST", "/x", content=[body])

    assert len(server.calls) == 1
    assert peak() < 8 * MIB


async def test_a_large_request_to_a_slow_reader_arrives_complete() -> None:
    """Written as fast as it is read, in the order of its buffers."""
    received = bytearray(13 * MIB)
    size = 0

    async def read_slowly(call: Call) -> None:
        nonlocal size
        while size < content_length(call.head):
            piece = await call.reader.read(2**14)
            received[size : size + len(piece)] = piece
            size += len(piece)
        await call.write(response(200))

    buffers = [bytes([number]) * (3 * MIB + number) for number in range(4)]
    server = Server("127.0.0.2", read_slowly, reads_body=False)
    async with server.running(), start_peer(server.url) as downstream:
        with traced_peak() as peak:
            await downstream.peer.send(context(), "POST", "/x", content=buffers)

    assert received[:size] == b"".join(buffers)
    assert peak() < 8 * MIB


async def test_a_response_to_half_a_request_ends_the_connection() -> None:
    """The rest of the body must not be taken for the next request."""

    async def refuse(call: Call) -> None:
        await call.write(response(413, '{"title": "t", "detail": "d"}'))
        await asyncio.Event().wait()

    server = Server("127.0.0.2", refuse, reads_body=False)
    async with server.running(), start_peer(server.url) as downstream:
        for _ in range(3):
            with pytest.raises(RemoteProblem) as problem:
                await downstream.peer.send(context(), "POST", "/x", content=[bytes(64 * MIB)])
            assert problem.value.status == 413

    assert len(server.calls) == 3


@contextmanager
def traced_peak() -> Iterator[Callable[[], int]]:
    """Trace what Python allocates in the block; yield how much that was at most, in bytes."""
    tracemalloc.start()
    try:
        yield lambda: peak
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
