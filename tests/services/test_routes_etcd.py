"""A table of routes in a real etcd: read, watched, lost and found again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from tests.services.test_settings import start
from tests.stream.tls_front import make_certificate
from tests.support.etcd import EtcdServer, etcd_server
from tests.support.routing import Routed, inference, routed
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

KEY = "elastic-yolo/routes"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An inference service."""
    folder = tmp_path_factory.mktemp("backend")
    with inference(folder, write_tiny_model(folder / "tiny")) as running:
        yield running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd of its own, which the test may kill."""
    with etcd_server(tmp_path / "etcd") as running:
        yield running


def table(backend: Service, name: str) -> str:
    return f"backends: {{{name}: {{url: '{backend.url}'}}}}\nroutes: [{{backends: {name}}}]\n"


def address(server: EtcdServer) -> str:
    return f"etcd://{server.host}/{KEY}"


def wait_routed(services: Routed, name: str) -> None:
    """Return when pictures go to a back end of this name."""

    def is_routed() -> bool:
        assert services.detect().status_code == 200
        return services.pictures(name) > 0

    wait_until(is_routed, f"pictures go to {name}", 40)


def test_a_table_in_etcd_is_followed(server: EtcdServer, backend: Service, tmp_path: Path) -> None:
    """Also one that is wrong, and a key that is removed."""
    server.ctl("put", KEY, text=table(backend, "first"))
    with routed(tmp_path, None, address(server)) as services:
        wait_routed(services, "first")
        server.ctl("put", KEY, text=table(backend, "second"))
        wait_routed(services, "second")
        server.ctl("put", KEY, text="routes: [{backends: nowhere}]")
        wait_until(lambda: not services.is_valid(), "the table is refused")
        wait_until(lambda: "no back end 'nowhere'" in services.log(), "the reason is logged")
        assert services.detect().status_code == 200
        server.ctl("del", KEY)
        wait_until(lambda: "there is no such key" in services.log(), "the reason is logged")
        assert services.detect().status_code == 200
        server.ctl("put", KEY, text=table(backend, "third"))
        wait_routed(services, "third")
        assert services.is_valid()
        # Each request to etcd, by the HTTP client.
        assert "HTTP Request" not in services.log()


def test_what_changed_while_etcd_was_away_is_taken(
    server: EtcdServer, backend: Service, tmp_path: Path
) -> None:
    """Pictures are served meanwhile; the store has been compacted when the watch begins again."""
    server.ctl("put", KEY, text=table(backend, "first"))
    with routed(tmp_path, None, address(server)) as services:
        wait_routed(services, "first")
        server.kill()
        wait_until(lambda: "etcd cannot be watched" in services.log(), "the loss is logged")
        assert services.detect().status_code == 200
        server.start()
        server.ctl("put", KEY, text=table(backend, "second"))
        revision = json.loads(server.ctl("get", KEY, "-w", "json"))["header"]["revision"]
        server.ctl("compact", str(revision))
        wait_routed(services, "second")

        wait_until(lambda: "etcd responds again" in services.log(), "the return is logged")
        assert services.log().count("etcd cannot be watched") == 1


def test_another_server_is_asked_where_one_is_away(
    server: EtcdServer, backend: Service, tmp_path: Path
) -> None:
    server.ctl("put", KEY, text=table(backend, "first"))
    hosts = f"127.0.0.1:{free_port()},{server.host}"
    with routed(tmp_path, None, f"etcd://{hosts}/{KEY}") as services:
        wait_routed(services, "first")
        server.ctl("put", KEY, text=table(backend, "second"))
        wait_routed(services, "second")


def test_a_user_reads_the_table_with_a_password(
    server: EtcdServer, backend: Service, tmp_path: Path
) -> None:
    server.ctl("put", KEY, text=table(backend, "first"))
    server.ctl("user", "add", "root:top secret")
    server.ctl("user", "grant-role", "root", "root")
    server.ctl("auth", "enable")
    where = address(server)

    anonymous = start("preprocess", ROUTES=where)
    wrong = start("preprocess", ROUTES=where, ETCD_USER="root", ETCD_PASSWORD="guess")  # noqa: S106
    env = {"ETCD_USER": "root", "ETCD_PASSWORD": "top secret"}
    with routed(tmp_path, None, where, **env) as services:
        wait_routed(services, "first")
        server.ctl("put", KEY, user="root:top secret", text=table(backend, "second"))
        wait_routed(services, "second")

        assert "top secret" not in services.log()
    assert "user name is empty" in anonymous.stderr
    assert "authentication failed" in wrong.stderr
    assert (anonymous.returncode, wrong.returncode) == (1, 1)


def test_connections_are_encrypted_and_both_sides_show_certificates(
    backend: Service, tmp_path: Path
) -> None:
    key, certificate = make_certificate(tmp_path)
    with etcd_server(
        tmp_path / "etcd", {"key": key, "cert": certificate, "ca": certificate}
    ) as server:
        server.ctl("put", KEY, text=table(backend, "first"))
        files = {"ETCD_CA_FILE": str(certificate)}
        without = start("preprocess", ROUTES=address(server), **files)
        files |= {"ETCD_CERT_FILE": str(certificate), "ETCD_KEY_FILE": str(key)}
        with routed(tmp_path, None, address(server), **files) as services:
            wait_routed(services, "first")
            server.ctl("put", KEY, text=table(backend, "second"))
            wait_routed(services, "second")

    assert without.returncode == 1
    assert "cannot be read" in without.stderr
    assert len(without.stderr.splitlines()) == 1
