"""Addresses, credentials and denials of Redis, with real servers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from elastic_yolo.stream.errors import BadAddress, Refused, Unavailable
from elastic_yolo.stream.redis.streams import RedisSink, RedisSource
from tests.stream.results import a_result
from tests.stream.tls_front import make_certificate
from tests.support.redis_server import RedisServer, redis_server

NEVER_S = 3600.0
PASSWORD = "p@ss/word?#%:1"  # noqa: S105
ESCAPED = "p%40ss%2Fword%3F%23%25%3A1"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server with a password, and a user who may only read."""
    with redis_server(tmp_path_factory.mktemp("locked"), {"requirepass": PASSWORD}) as server:
        with server.client as client:
            client.execute_command("ACL", "SETUSER", "reader", "on", ">look", "~*", "+@read")
        yield server


def received(address: str, environment: Mapping[str, str] | None = None) -> int:
    source = RedisSource.open(address, NEVER_S, environment or {})
    try:
        return len(source.receive(1, 0.01))
    finally:
        source.close()


def test_a_password_is_in_the_address_with_percent_signs_for_special_characters(
    locked: RedisServer,
) -> None:
    assert received(locked.address("stream=p", f":{ESCAPED}@")) == 0
    assert received(locked.address("stream=p", f"default:{ESCAPED}@")) == 0


def test_a_password_is_in_the_environment_as_it_is(locked: RedisServer) -> None:
    environment = {"REDIS_PASSWORD": PASSWORD}
    assert received(locked.address("stream=p"), environment) == 0
    assert received(locked.address("stream=p", "default@"), environment) == 0
    sink = RedisSink.open(locked.address("stream=r"), environment)
    sink.write([a_result("1")])
    sink.close()


@pytest.mark.parametrize("credentials", ["", ":wrong-secret@", "nobody:wrong-secret@"])
def test_wrong_credentials_are_refused_and_appear_in_no_message(
    locked: RedisServer, credentials: str
) -> None:
    with pytest.raises(Refused) as refused:
        received(locked.address("stream=p", credentials))
    assert "wrong-secret" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_a_user_without_permission_is_refused(locked: RedisServer) -> None:
    with pytest.raises(Refused, match="permission"):
        received(locked.address("stream=p", "reader:look@"))
    sink = RedisSink.open(locked.address("stream=r", "reader:look@"))
    with pytest.raises(Refused, match="permission") as refused:
        sink.write([a_result("1")])
    sink.close()
    assert "sha256" not in str(refused.value)


def test_a_password_that_a_server_does_not_want_is_refused(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, pytest.raises(Refused) as refused:
        received(server.address("stream=p", ":needless-secret@"))
    assert "needless-secret" not in str(refused.value)


def test_a_database_that_the_server_has_not_is_refused(locked: RedisServer) -> None:
    with pytest.raises(Refused, match="DB index"):
        received(locked.address("stream=p", f":{ESCAPED}@", database="99"))


def test_databases_are_separate(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        sink = RedisSink.open(server.address("stream=r", database="3"))
        sink.write([a_result("1")])
        sink.close()
        with server.client as client:
            assert client.xlen("r") == 0
            client.select(3)
            assert client.xlen("r") == 1


def test_a_full_server_is_unavailable_until_there_is_room(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, server.client as client:
        sink = RedisSink.open(server.address("stream=r"))
        client.config_set("maxmemory", "1")
        with pytest.raises(Unavailable, match="memory") as unavailable:
            sink.write([a_result("1"), a_result("2")])
        assert "bird" not in str(unavailable.value)
        client.config_set("maxmemory", "0")
        sink.write([a_result("1")])
        assert client.xlen("r") == 1
        sink.close()


def test_a_replica_is_unavailable_until_it_becomes_the_primary(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "1") as primary,
        redis_server(tmp_path / "2") as server,
        server.client as client,
    ):
        source = RedisSource.open(server.address("stream=p"), NEVER_S)
        client.replicaof(LOOPBACK, primary.port)
        with pytest.raises(Unavailable, match="read only replica"):
            source.receive(1, 0.01)
        client.replicaof("NO", "ONE")
        assert source.receive(1, 0.01) == []
        source.close()


def test_rediss_checks_the_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (key, certificate), port = make_certificate(tmp_path), free_port()
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(certificate),
        "tls-auth-clients": "no",
    }
    with redis_server(tmp_path / "data", options):
        address = f"rediss://{LOOPBACK}:{port}?stream=p"
        with pytest.raises(Refused, match="certificate verify failed"):
            received(address)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert received(address) == 0


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("redis://host", "'stream' is missing"),
        ("redis://host?stream=", "'stream' is empty"),
        ("redis://host?stream=p&stream=q", "given twice"),
        ("redis://host?stream=p&topic=g", "unknown parameter 'topic', known are stream, group"),
        ("redis://?stream=p", "host is missing"),
        ("redis://:6379?stream=p", "host is missing"),
        ("redis://host:port?stream=p", "port is no number"),
        ("redis://host:70000?stream=p", "port is no number"),
        ("redis://host/zero?stream=p", "database is no number"),
        ("redis://host/²?stream=p", "database is no number"),
        ("redis://one,two?stream=p", "several servers"),
        ("redis://[::1?stream=p", "host cannot be read"),
    ],
)
def test_a_bad_address_is_reported_with_what_is_expected(address: str, reason: str) -> None:
    with pytest.raises(BadAddress, match="expected redis://") as bad:
        RedisSource.open(address, NEVER_S)
    assert reason in str(bad.value)


@pytest.mark.parametrize("maxlen", ["many", "0", "-1", "1.5"])
def test_a_bad_maxlen_of_a_sink_is_reported(maxlen: str) -> None:
    with pytest.raises(BadAddress, match="maxlen is no number"):
        RedisSink.open(f"redis://host?stream=r&maxlen={maxlen}")


@pytest.mark.parametrize(
    "password", ["se/cret", "se?cret", "se#cret", "12/cret", "12?cret", "[cret"]
)
def test_an_unescaped_password_is_a_bad_address_whose_message_does_not_quote_it(
    password: str,
) -> None:
    with pytest.raises(BadAddress) as bad:
        RedisSource.open(f"redis://user:{password}@host:1/0?stream=p", NEVER_S)
    assert "cret" not in str(bad.value)
    assert bad.value.__cause__ is None


def test_an_address_with_an_ipv6_host_and_without_port_is_understood() -> None:
    source = RedisSource.open("redis://[::1]?stream=a%20b", NEVER_S)
    assert source.name == "redis://[::1]:6379/?stream=a b"
    source.close()
