"""HTTP/1.1 between our services: one request, one answer, one connection each, on real sockets."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.request.errors import Unavailable
from tests.support.misbehaving import Call, Server, answer
from tests.support.peering import ask, context, good, with_peer


def test_only_the_last_of_several_heads_is_the_answer() -> None:
    """An intermediary may send a 100 or a 103 before it."""

    async def behave(call: Call) -> None:
        await call.write("HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await good(call)

    async def scenario(peer: Peer, _servers: list[Server]) -> None:
        response = await peer.send(context(), "POST", "/x", content=[b"picture"])
        assert response.content == b'"picture"'
        assert "link" not in response.headers

    with_peer(scenario, behave)


def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next() -> None:
    async def behave(call: Call) -> None:
        await call.write(answer(200, f'"{call.body.decode()}"') + answer(200, '"somebody else"'))

    async def scenario(peer: Peer, _servers: list[Server]) -> None:
        assert [await ask(peer, str(n)) for n in range(10)] == [str(n) for n in range(10)]

    with_peer(scenario, behave)


def test_a_single_process_that_hangs_up_between_requests_is_asked_on_a_new_connection() -> None:
    """As a server does with idle connections, just when somebody wants to use one."""

    async def answer_and_hang_up(call: Call) -> None:
        await good(call)
        call.writer.close()

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        assert [await ask(peer, str(n)) for n in range(20)] == [str(n) for n in range(20)]
        assert len(servers[0].calls) == 20

    assert "'state': 'ejected'} 0.0" in with_peer(scenario, answer_and_hang_up)


def test_with_tls_the_name_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_certificate: ssl.SSLContext
) -> None:
    async def scenario() -> None:
        server = Server("127.0.0.1", good, tls=own_certificate)
        async with server.running():
            for host, answered in (("localhost", True), ("127.0.0.1", False)):
                peer = Peer("inference", f"https://{host}:{server.port}", Metrics("test"))
                if answered:
                    assert await ask(peer, "secret") == "secret"
                    assert f"host: localhost:{server.port}\r\n" in server.calls[0].head
                else:
                    with pytest.raises(Unavailable, match="the inference service cannot be"):
                        await ask(peer)
                peer.close()
        assert len(server.calls) == 1

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    asyncio.run(scenario())


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """One for `localhost` that nobody has signed."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is missing: TLS between services is NOT tested")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost".split()
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-out", str(certificate), "-keyout", str(key)]
    subprocess.run([openssl, *options, *names, *files], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


def test_a_cancelled_request_ends_its_connection() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        try:
            while True:
                await call.write(" ")
                await asyncio.sleep(0.01)
        except ConnectionError:
            gone.set()

    async def scenario(peer: Peer, _servers: list[Server]) -> None:
        asking = asyncio.create_task(ask(peer))
        await arrived.wait()
        asking.cancel()
        async with asyncio.timeout(20):
            await gone.wait()

    async def late_body(call: Call) -> None:
        await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        await hold(call)

    with_peer(scenario, late_body)
