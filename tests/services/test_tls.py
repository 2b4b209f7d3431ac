"""Three real processes that speak TLS with each other, and who is let in."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from services.common.request.errors import Unavailable
from tests.stream.tls_front import tls_front
from tests.support.certificates import Authority, MountedPair
from tests.support.peering import PATIENCE_S, Downstream, context
from tests.support.pictures import encode, plain
from tests.support.tls_services import TlsService, TlsStack, running_with_tls
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
MAX_CONNECTIONS = 20
LIMITS = {
    "MAX_CONNECTIONS": str(MAX_CONNECTIONS),
    "REQUEST_TIMEOUT_MS": "3000",
    "MAX_BODY_BYTES": "200000",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsStack]:
    with running_with_tls(tmp_path_factory.mktemp("tls")) as running:
        yield running


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsService]:
    """Web alone, with low limits, for callers without certificates."""
    folder = tmp_path_factory.mktemp("limits")
    pair = Authority().write_pair(folder / "pair", ["localhost"])
    env = {**pair.env, **LIMITS, "TLS_CLIENT_AUTH": "none"}
    web = {"PREPROCESS_URL": f"http://{LOOPBACK}:{free_port()}"}
    with TlsService("web", free_port(), {**env, **web}, folder / "log") as service:
        wait_until(lambda: bool(service.events("listening")), "the service listens", 60)
        yield service


def test_three_services_detect_in_a_picture_over_mutual_tls(stack: TlsStack) -> None:
    with stack.caller() as client:
        answer = client.post(f"{stack.web.url}/inference", files={"image": JPEG})

    assert answer.status_code == 200, answer.text
    assert answer.json()["model"]["name"] == "tiny"
    assert {"web", "preprocess", "inference"} <= {
        entry.split(";")[0] for entry in answer.headers["server-timing"].split(", ")
    }
    (listening,) = stack.inference.events("listening")
    assert listening["address"] == f"https://{LOOPBACK}:{stack.inference.port}"


@pytest.mark.parametrize("tier", ["preprocess", "inference"])
def test_an_inner_service_serves_a_caller_with_a_certificate(stack: TlsStack, tier: str) -> None:
    service = getattr(stack, tier)
    with httpx.Client(verify=stack.pairs["web"].client_context()) as client:
        assert client.get(f"{service.url}/livez").json() == {"status": "alive"}


def certificate_of_a_stranger(stack: TlsStack, folder: Path) -> ssl.SSLContext:
    """Return the context of a caller that trusts our CA and has a certificate of another one."""
    found = Authority("stranger").write_pair(folder, ["localhost"]).client_context()
    found.load_verify_locations(stack.pairs["web"].folder / "ca.crt")
    return found


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "the caller has no certificate"),
        ("stranger", "the caller's certificate: "),
        ("plain", "the caller speaks HTTP without TLS"),
    ],
)
def test_an_inner_service_refuses_other_callers_and_logs_why(
    stack: TlsStack, tmp_path_factory: pytest.TempPathFactory, who: str, why: str
) -> None:
    service = stack.inference
    url = service.url if who != "plain" else f"http://{LOOPBACK}:{service.port}"
    verify: ssl.SSLContext | bool = stack.pairs["web"].client_context(certificate=False)
    if who == "stranger":
        verify = certificate_of_a_stranger(stack, tmp_path_factory.mktemp("stranger"))
    before = service.metric("elastic_yolo_tls_handshake_failures_total")

    with httpx.Client(verify=verify) as client, pytest.raises(httpx.TransportError):
        client.get(f"{url}/livez")

    wait_until(
        lambda: service.metric("elastic_yolo_tls_handshake_failures_total") == before + 1,
        "the failure is counted",
    )
    assert service.events("TLS connection refused")[-1]["why"].startswith(why)


def test_the_probe_port_serves_probes_and_metrics_only(stack: TlsStack) -> None:
    for service in stack.services:
        with httpx.Client(base_url=service.probe_url) as client:
            found = {
                path: client.get(path).status_code
                for path in ("/livez", "/readyz", "/health/ping", "/metrics")
            }
            refused = [client.get(path) for path in ("/health/status", "/docs", "/v2", "/")]
            refused += [client.post(path, content=b"x") for path in ("/inference", "/process")]

        assert set(found.values()) == {200}, found
        assert {answer.status_code for answer in refused} == {404}
        assert all(answer.json()["title"] == "Not Found" for answer in refused)


def test_metrics_tell_when_the_certificate_expires_and_are_documented(stack: TlsStack) -> None:
    documented = (ROOT / "docs" / "metrics.md").read_text()
    for tier, pair in stack.pairs.items():
        name = "elastic_yolo_tls_certificate_expiry_timestamp_seconds"
        expires = pair.read_certificate().not_valid_after_utc.timestamp()

        assert getattr(stack, tier).metric(name) == expires
        assert f"| `{name}` | gauge | service | web, preprocess, inference |" in documented
    failures = "| `elastic_yolo_tls_handshake_failures_total` | counter | service |"
    assert failures in documented


# What the caller of a service sees, with the Peer that web and preprocess use.


async def failure(downstream: Downstream) -> str:
    """Send a request that must not be answered; return how the log describes the failure."""
    request = context(PATIENCE_S * 1000)
    with pytest.raises(Unavailable, match="the inference service cannot be reached"):
        await downstream.peer.send(request, "GET", "/livez")
    downstream.peer.close()
    assert request.peer_failure
    return request.peer_failure.why


def caller(url: str, pair: MountedPair, **what: bool) -> Downstream:
    """Return a Peer with the CA of a pair and, by default, its certificate."""
    tls = pair.client_context(**what)
    return Downstream(url, tls_context=lambda: tls)


@pytest.mark.anyio
async def test_a_caller_with_a_certificate_is_answered(stack: TlsStack) -> None:
    downstream = caller(stack.inference.url, stack.pairs["preprocess"])
    answer = await downstream.peer.send(context(), "GET", "/livez")
    downstream.peer.close()

    assert answer.status_code == 200


@pytest.mark.anyio
async def test_a_caller_without_a_certificate_gets_no_response(stack: TlsStack) -> None:
    how = await failure(caller(stack.inference.url, stack.pairs["preprocess"], certificate=False))

    assert any(word in how for word in ("ended before the response", "reset", "alert")), how


@pytest.mark.anyio
async def test_a_server_with_a_certificate_of_another_ca_is_refused(
    stack: TlsStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority("stranger").write_pair(tmp_path_factory.mktemp("other"), ["localhost"])

    how = await failure(caller(stack.inference.url, stranger))

    assert "certificate verify failed: self-signed certificate in certificate chain" in how


@pytest.mark.anyio
async def test_a_server_whose_certificate_has_another_name_is_refused(
    stack: TlsStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The connection goes to the right process: its address is that of the name."""
    folder = tmp_path_factory.mktemp("name")
    pair = stack.authority.write_pair(folder / "pair", ["inference.elastic-yolo"])
    target = (stack.inference.port, folder / "pair" / "tls.key", folder / "pair" / "tls.crt")
    with tls_front(*target) as port:
        how = await failure(caller(f"https://localhost:{port}", pair))

    assert "Hostname mismatch, certificate is not valid for 'localhost'" in how


@pytest.mark.anyio
async def test_a_server_whose_certificate_has_expired_is_refused(
    stack: TlsStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("expired")
    pair = stack.authority.write_expired(folder, ["localhost"])
    with tls_front(stack.inference.port, folder / "tls.key", folder / "tls.crt") as port:
        how = await failure(caller(f"https://localhost:{port}", pair))

    assert "certificate verify failed: certificate has expired" in how


@pytest.mark.anyio
async def test_http_to_a_port_with_tls_gets_no_response(stack: TlsStack) -> None:
    how = await failure(Downstream(f"http://{LOOPBACK}:{stack.inference.port}"))

    assert any(word in how for word in ("ended before the response", "reset")), how


@pytest.mark.anyio
async def test_tls_to_a_port_without_it_fails_at_once(stack: TlsStack) -> None:
    how = await failure(
        caller(f"https://localhost:{stack.inference.probe_port}", stack.pairs["web"])
    )

    assert "wrong version number" in how.lower().replace("_", " ")


def test_a_picture_gets_503_if_the_next_service_refuses_the_certificate(
    stack: TlsStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing in the response tells a caller where the next service is, or why it failed."""
    folder = tmp_path_factory.mktemp("refused")
    pair = Authority("stranger").write_pair(folder / "pair", ["localhost"])
    ca = (stack.pairs["web"].folder / "ca.crt").read_bytes()
    pair.write(*((pair.folder / name).read_bytes() for name in ("tls.crt", "tls.key")), ca)
    env = {**pair.env, "PREPROCESS_URL": stack.preprocess.url, "HOLD_S": "0"}
    with TlsService("web", free_port(), env, folder / "log") as web:
        wait_until(lambda: bool(web.events("listening")), "web listens", 60)
        answer = httpx.post(f"{web.url}/inference", files={"image": JPEG}, verify=trusting())

        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] == "the preprocess service cannot be reached"
        assert str(stack.preprocess.port) not in answer.text
        wait_until(lambda: bool(web.events("request")), "the request is logged")
        assert web.events("request")[-1]["peer_failure"]
    why = [line["why"] for line in stack.preprocess.events("TLS connection refused")]
    assert any(one.startswith("the caller's certificate: ") for one in why), why


# The limits of HTTP hold behind TLS, and the handshake has its own.


def connect(service: TlsService) -> socket.socket:
    return socket.create_connection((LOOPBACK, service.port), timeout=PATIENCE_S)


def handshake(service: TlsService) -> ssl.SSLSocket:
    return trusting().wrap_socket(connect(service), server_hostname="localhost")


def trusting() -> ssl.SSLContext:
    """Return the context of a caller that verifies nothing."""
    found = ssl.create_default_context()
    found.check_hostname = False
    found.verify_mode = ssl.CERT_NONE
    return found


def read_to_the_end(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return found


def test_a_handshake_that_does_not_end_has_a_time_limit(limited: TlsService) -> None:
    """REQUEST_TIMEOUT_MS, but at most 10 s; a later caller does not wait for it."""
    with connect(limited) as silent, connect(limited) as slow, handshake(limited) as other:
        slow.sendall(b"\x16\x03\x01")  # the start of a TLS record
        other.sendall(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n")

        assert b'{"status":"alive"}' in read_to_the_end(other)
        assert read_to_the_end(silent) == read_to_the_end(slow) == b""

    def count_late() -> int:
        whys = [line["why"] for line in limited.events("TLS connection refused")]
        return whys.count("the handshake took too long")

    wait_until(lambda: count_late() == 2, "both are logged")


def test_connections_count_from_before_the_handshake(limited: TlsService) -> None:
    with ExitStack() as opened:
        for _ in range(MAX_CONNECTIONS):
            opened.enter_context(connect(limited))
        refusal = "more than 20 connections are open: try later"
        with connect(limited) as refused:
            assert read_to_the_end(refused) == b""
        assert refusal in [line["why"] for line in limited.events("TLS connection refused")]
        # Not on the port of probes.
        assert limited.get("/livez") == b'{"status":"alive"}'

    def is_open_again() -> bool:
        with connect(limited) as probe:
            probe.settimeout(0.2)
            try:
                return probe.recv(1) != b""
            except TimeoutError:
                return True
            except ConnectionError:
                return False

    wait_until(is_open_again, "another connection is accepted")


def test_a_silent_connection_is_refused_after_its_handshake_too(limited: TlsService) -> None:
    with handshake(limited) as silent:
        assert b"head did not arrive in 3 s" in read_to_the_end(silent)


def test_an_upload_that_is_too_large_is_answered_before_it_ends(limited: TlsService) -> None:
    """TLS has no half-closed connections: the service reads on until the caller has its answer."""
    head = b"POST /inference HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 900000\r\n\r\n"
    with handshake(limited) as connection:
        connection.sendall(head + bytes(300_000))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)

        assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.long
def test_callers_that_send_fast_take_bounded_memory(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A hundred connections that send on when their bodies are refused: 0.4 MB each, and bodies."""
    folder = tmp_path_factory.mktemp("memory")
    pair = Authority().write_pair(folder / "pair", ["localhost"])
    env = {**pair.env, "PREPROCESS_URL": f"http://{LOOPBACK}:{free_port()}"}
    body = (
        b"POST /inference HTTP/1.1\r\nContent-Type: image/jpeg\r\nContent-Length: 19000000\r\n\r\n"
    )
    service = TlsService("web", free_port(), env, folder / "log")
    with service, ExitStack() as opened:
        wait_until(lambda: bool(service.events("listening")), "the service listens", 60)
        before = service.resident_bytes()
        callers = [opened.enter_context(handshake(service)) for _ in range(100)]
        for one in callers:
            one.sendall(body)
            one.settimeout(0.01)
        grown = 0
        for _ in range(50):
            for one in callers:
                with suppress(OSError):
                    one.sendall(bytes(65536))
            grown = max(grown, service.resident_bytes() - before)
        assert service.get("/livez") == b'{"status":"alive"}'

    assert grown < 96_000_000


def test_a_drain_does_not_wait_for_handshakes_or_idle_callers(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("drain")
    pair = Authority().write_pair(folder / "pair", ["localhost"])
    env = {**pair.env, "PREPROCESS_URL": f"http://{LOOPBACK}:{free_port()}"}
    service = TlsService("web", free_port(), env, folder / "log")
    with service, ExitStack() as opened:
        wait_until(lambda: bool(service.events("listening")), "the service listens", 60)
        opened.enter_context(connect(service))
        idle = opened.enter_context(handshake(service))
        idle.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")

        assert service.stop() == 0
    assert service.events("stopped")
    assert "graceful shutdown exceeded" not in (folder / "log").read_text()
