"""Certificates are renewed while pictures are sent, and a broken renewal changes nothing."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from elastic_yolo.lab.processes.stack import LOOPBACK
from services.common.core.tls import Tls, TlsFiles
from tests.support.certificates import Authority, MountedPair
from tests.support.pictures import encode, plain
from tests.support.tls_services import TlsService, TlsStack, running_with_tls
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
EXPIRY = "elastic_yolo_tls_certificate_expiry_timestamp_seconds"


def presented(service: TlsService, context: ssl.SSLContext) -> x509.Certificate:
    """Return the certificate that a service presents to a new connection."""
    with (
        socket.create_connection((LOOPBACK, service.port), timeout=60) as plain_,
        context.wrap_socket(plain_, server_hostname="localhost") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der
    return x509.load_der_x509_certificate(der)


def send_pictures(stack: TlsStack, ended: Event, *, keeps_alive: bool) -> list[int]:
    """Return the statuses of pictures sent until the event."""
    statuses = []
    headers = {} if keeps_alive else {"Connection": "close"}
    with stack.caller() as client:
        while not ended.is_set():
            answer = client.post(
                f"{stack.web.url}/inference", files={"image": JPEG}, headers=headers
            )
            statuses.append(answer.status_code)
    return statuses


def test_a_renewed_certificate_is_used_without_a_failed_request(tmp_path: Path) -> None:
    """Neither on connections that stay open nor on new ones."""
    with running_with_tls(tmp_path) as stack, ThreadPoolExecutor(2) as threads:
        ended = Event()
        callers = [
            threads.submit(send_pictures, stack, ended, keeps_alive=keeps_alive)
            for keeps_alive in (True, False)
        ]
        try:
            before = {
                tier: presented(getattr(stack, tier), pair.client_context())
                for tier, pair in stack.pairs.items()
            }
            for tier, pair in stack.pairs.items():
                stack.authority.write_pair(pair.folder, ["localhost", tier])
            for service in stack.services:
                new = stack.pairs[service.name].read_certificate()
                wait_until(_is_used(service, new), f"{service.name} uses its new certificate", 60)
            after = {
                tier: presented(getattr(stack, tier), pair.client_context())
                for tier, pair in stack.pairs.items()
            }
        finally:
            ended.set()
        statuses = [status for one in callers for status in one.result()]

        for tier, pair in stack.pairs.items():
            assert before[tier] != after[tier] == pair.read_certificate()
            assert len(getattr(stack, tier).events("certificate renewed")) == 1
        assert set(statuses) == {200}
        assert len(statuses) > 10


def _is_used(service: TlsService, certificate: x509.Certificate) -> Callable[[], bool]:
    expires = certificate.not_valid_after_utc.timestamp()
    return lambda: service.metric(EXPIRY) == expires and bool(service.events("certificate renewed"))


def tls_of(pair: MountedPair) -> Tls:
    names = ("tls.crt", "tls.key", "ca.crt")
    files = TlsFiles(*(pair.folder / name for name in names))
    return Tls(files, requires_client_certificate=True)


def contents(pair: MountedPair) -> list[bytes]:
    return [(pair.folder / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")]


@pytest.mark.anyio
async def test_unchanged_files_keep_their_contexts(tmp_path: Path) -> None:
    tls = tls_of(Authority().write_pair(tmp_path, ["localhost"]))
    server, client = tls.server_context(), tls.client_context()
    with capture_logs() as logged:
        await tls.renew()

    assert (tls.server_context(), tls.client_context()) == (server, client)
    assert logged == []


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("a key of another certificate", "TLS_KEY_FILE: it is not the key of the certificate"),
        ("half a key", "TLS_KEY_FILE: no private key"),
        ("half a certificate", "TLS_CERT_FILE: no certificate in PEM format"),
        ("an empty CA", "TLS_CA_FILE: no certificates in PEM format"),
        ("an expired certificate", "TLS_CERT_FILE: expired on "),
        ("a missing file", "TLS_CERT_FILE: No such file or directory"),
    ],
)
async def test_a_broken_renewal_keeps_the_old_pair_and_is_logged_once(
    tmp_path: Path, broken: str, why: str
) -> None:
    authority = Authority()
    pair = authority.write_pair(tmp_path / "pair", ["localhost"])
    tls = tls_of(pair)
    context, expires = tls.server_context(), tls.expires_at
    certificate, key, ca = contents(authority.write_pair(tmp_path / "new", ["localhost"]))
    match broken:
        case "a key of another certificate":
            pair.write(certificate, contents(pair)[1], ca)
        case "half a key":
            pair.write(certificate, key[: len(key) // 2], ca)
        case "half a certificate":
            pair.write(certificate[: len(certificate) // 2], key, ca)
        case "an empty CA":
            pair.write(certificate, key, b"")
        case "an expired certificate":
            authority.write_expired(pair.folder, ["localhost"])
        case "a missing file":
            (tmp_path / "pair" / "tls.crt").unlink()
    with capture_logs() as logged:
        await tls.renew()
        await tls.renew()

    assert (tls.server_context(), tls.expires_at) == (context, expires)
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("certificate not renewed", "error")
    assert line["why"].startswith(why)


@pytest.mark.anyio
async def test_the_pair_is_used_as_soon_as_it_is_whole(tmp_path: Path) -> None:
    """And the next broken one is logged again."""
    authority = Authority()
    pair = authority.write_pair(tmp_path / "pair", ["localhost"])
    tls = tls_of(pair)
    certificate, key, ca = contents(authority.write_pair(tmp_path / "new", ["localhost"]))
    with capture_logs() as logged:
        pair.write(certificate, b"", ca)
        await tls.renew()
        pair.write(certificate, key, ca)
        await tls.renew()
        pair.write(certificate, b"", ca)
        await tls.renew()

    assert tls.expires_at == pair.read_certificate().not_valid_after_utc
    events = [line["event"] for line in logged]
    assert events == ["certificate not renewed", "certificate renewed", "certificate not renewed"]
