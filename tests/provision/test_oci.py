"""Models in a container registry: a real one, Debian's docker-registry."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import (
    ConfigError,
    SourceRefused,
    SourceUnavailable,
    WrongContent,
)
from tests.provision.fetching import CONTENT, Fetcher
from tests.provision.oci_server import (
    PASSWORD,
    USER,
    Tokens,
    names_and_passwords,
    push,
    registry,
    tokens,
)
from tests.provision.proxy import Proxy, before
from tests.provision.secrets import provision
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.servers import Site, serving

BASIC = {"Authorization": f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}


@pytest.fixture(scope="module")
def open_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with registry(tmp_path_factory.mktemp("open")) as port:
        yield port


@pytest.fixture
def proxy(open_port: int) -> Iterator[Proxy]:
    """Return a proxy in front of a registry without authentication."""
    with before(open_port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def closed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a registry with basic authentication."""
    folder = tmp_path_factory.mktemp("closed")
    with registry(folder, names_and_passwords(folder)) as port:
        push(port, "tiny", {"file": CONTENT}, "1", BASIC)
        yield port


def of(proxy: Proxy, rest: str) -> str:
    return f"oci://127.0.0.1:{proxy.port}/{rest}"


@pytest.mark.parametrize("stated", ["a/b:1", "a/b", "a/b@{digest}"])
def test_a_layer_comes_by_its_title(
    tmp_path: Path, open_port: int, proxy: Proxy, stated: str
) -> None:
    for tag in ("1", "latest"):
        digest = push(open_port, "a/b", {"file": CONTENT, "other": b"x"}, tag)

    address = of(proxy, f"{stated.format(digest=digest)}/file")
    assert Fetcher(tmp_path).fetch(address) == CONTENT
    assert len(proxy.asked) == 2


def test_an_interrupted_download_resumes(tmp_path: Path, open_port: int, proxy: Proxy) -> None:
    push(open_port, "cut", {"file": CONTENT}, "1")
    proxy.cuts = 2
    fetcher = Fetcher(tmp_path)

    assert fetcher.fetch(of(proxy, "cut:1/file")) == CONTENT
    assert fetcher.download.traffic.bytes == len(CONTENT)
    assert len(proxy.ranges) == 2


def test_changed_content_is_downloaded_from_the_beginning(
    tmp_path: Path, open_port: int, proxy: Proxy
) -> None:
    push(open_port, "moved", {"file": CONTENT}, "1")
    proxy.cuts = 1
    fetcher = Fetcher(tmp_path, attempts=1)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch(of(proxy, "moved:1/file"))
    other = bytes(reversed(CONTENT))
    push(open_port, "moved", {"file": other}, "1")

    assert fetcher.fetch(of(proxy, "moved:1/file"), digest_of_bytes(other)) == other


def test_a_complete_partial_file_is_downloaded_again(
    tmp_path: Path, open_port: int, proxy: Proxy
) -> None:
    """A run may be killed after the last byte, where no valid range begins."""
    push(open_port, "whole", {"file": CONTENT}, "1")
    fetcher = Fetcher(tmp_path)
    fetcher.fetch(of(proxy, "whole:1/file"))

    assert fetcher.fetch(of(proxy, "whole:1/file")) == CONTENT


@pytest.mark.parametrize(
    ("rest", "why"),
    [("there:1/nowhere", "no layer"), ("there:2/file", "404"), ("nowhere:1/file", "404")],
)
def test_a_missing_file_is_refused_by_the_source(
    tmp_path: Path, open_port: int, proxy: Proxy, rest: str, why: str
) -> None:
    push(open_port, "there", {"file": CONTENT}, "1")
    with pytest.raises(SourceRefused, match=why):
        Fetcher(tmp_path).fetch(of(proxy, rest))


def test_a_refused_connection_is_retryable(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable):
        Fetcher(tmp_path).fetch("oci://127.0.0.1:9/a/b:1/file")


def test_a_manifest_with_a_wrong_digest_is_refused(tmp_path: Path) -> None:
    digest = digest_of_bytes(b"another")
    path = f"v2/a/manifests/{digest}"
    with serving(Site({path: b'{"layers": []}'})) as site:
        address = f"oci://{site.url.removeprefix('http://')}/a@{digest}/file"
        with pytest.raises(WrongContent, match=digest):
            Fetcher(tmp_path).fetch(address)


def test_an_invalid_oci_manifest_is_refused(tmp_path: Path) -> None:
    for answer in (b"<html>", b'{"manifests": []}', b'{"layers": [{"digest": "md5:1"}]}'):
        with serving(Site({"v2/a/manifests/1": answer})) as site:
            address = f"oci://{site.url.removeprefix('http://')}/a:1/file"
            with pytest.raises(SourceRefused, match="invalid response"):
                Fetcher(tmp_path).fetch(address)


@pytest.mark.parametrize(
    "address", ["oci://host/file", "oci://host/UPPER:1/f", "oci://h/a@md5:1/f"]
)
def test_an_address_without_a_repository_is_an_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="oci://REGISTRY"):
        Fetcher(tmp_path).fetch(address)


def test_user_and_password_from_the_environment_are_used(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"oci://127.0.0.1:{closed_port}/tiny:1/file"
    with pytest.raises(SourceRefused, match="401"):
        Fetcher(tmp_path).fetch(address)
    monkeypatch.setenv("OCI_USERNAME", USER)
    monkeypatch.setenv("OCI_PASSWORD", "wrong")
    with pytest.raises(SourceRefused, match="401"):
        Fetcher(tmp_path).fetch(address)
    monkeypatch.setenv("OCI_PASSWORD", PASSWORD)

    assert Fetcher(tmp_path).fetch(address) == CONTENT


def test_credentials_of_docker_config_are_used(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = f"127.0.0.1:{closed_port}"
    auth = BASIC["Authorization"].removeprefix("Basic ")
    stated = {"auths": {"other": {"auth": "eDp5"}, f"https://{registry}/v2/": {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    assert Fetcher(tmp_path / "store").fetch(f"oci://{registry}/tiny:1/file") == CONTENT

    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json"):
        Fetcher(tmp_path / "store").fetch(f"oci://{registry}/tiny:1/other")


@pytest.fixture(scope="module")
def giving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tokens, int]]:
    """Return a token server, and the port of a registry that requires its tokens."""
    folder = tmp_path_factory.mktemp("tokens")
    with tokens(folder) as giving, registry(folder, giving.config()) as port:
        path = "/token?scope=repository%3Aa%2Ftiny%3Apull"
        token = json.loads(giving.answer(path, BASIC["Authorization"]))["token"]
        push(port, "a/tiny", {"file": CONTENT}, "1", {"Authorization": f"Bearer {token}"})
        yield giving, port


def test_a_token_challenge_is_answered(
    tmp_path: Path, giving: tuple[Tokens, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"oci://127.0.0.1:{giving[1]}/a/tiny:1/file"
    with pytest.raises(SourceRefused, match="401"):
        Fetcher(tmp_path).fetch(address)
    monkeypatch.setenv("OCI_USERNAME", USER)
    monkeypatch.setenv("OCI_PASSWORD", PASSWORD)
    giving[0].asked.clear()

    assert Fetcher(tmp_path).fetch(address) == CONTENT
    assert giving[0].asked == ["/token?scope=repository%3Aa%2Ftiny%3Apull&service=tests"]


def test_tokens_are_requested_over_https_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_USERNAME", USER)
    monkeypatch.setenv("OCI_PASSWORD", PASSWORD)
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.invalid/token",service="x"'}
    with serving(Site({}, statuses=[401], headers=challenge)) as site:
        address = f"oci://{site.url.removeprefix('http://')}/a:1/file"
        with pytest.raises(SourceRefused, match="must use https"):
            Fetcher(tmp_path).fetch(address)


def test_a_run_publishes_a_model_and_leaks_no_secret(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCI_USERNAME", USER)
    monkeypatch.setenv("OCI_PASSWORD", PASSWORD)
    source = write_source(tmp_path / "source")
    push(closed_port, "job", {name: (source / name).read_bytes() for name in FILES}, "1", BASIC)
    base = f"oci://127.0.0.1:{closed_port}"
    there = write_config(tmp_path / "a.yaml", wanted(f"{base}/job:1"))
    missing = write_config(tmp_path / "b.yaml", wanted(f"{base}/job:2", name="b"))
    store = tmp_path / "store"

    assert provision(store, there, PASSWORD, BASIC["Authorization"])[0] == 0
    assert provision(store, missing, PASSWORD, BASIC["Authorization"])[0] == 1
