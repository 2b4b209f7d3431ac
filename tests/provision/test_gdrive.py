"""Files of Google Drive, from a small server that imitates its API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from tests.provision.fetching import CONTENT, Fetcher
from tests.provision.secrets import provision
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.servers import Site, serving

SECRET = "AIza-key-of-the-tests"  # noqa: S105


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving(Site({}, etag=None)) as site:
        monkeypatch.setenv("GOOGLE_DRIVE_ENDPOINT", site.url)
        yield site


def share(drive: Site, identity: str, content: bytes, **stated: Any) -> None:
    described = {"size": str(len(content)), "sha256Checksum": digest_of_bytes(content)[7:]}
    drive.files[f"drive/v3/files/{identity}?fields"] = json.dumps(described | stated).encode()
    drive.files[f"drive/v3/files/{identity}?alt"] = content


def media(drive: Site) -> list[str | None]:
    return [asked for path, asked in drive.asked if "alt=media" in path]


def test_an_api_key_is_sent_as_a_header_not_in_the_address(
    tmp_path: Path, drive: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    share(drive, "1aB-_x", CONTENT)

    assert Fetcher(tmp_path).fetch("gdrive:1aB-_x") == CONTENT
    assert [head["x-goog-api-key"] for head in drive.heads] == [SECRET, SECRET]
    assert not any(SECRET in path for path, _ in drive.asked)


def test_an_interrupted_download_resumes(tmp_path: Path, drive: Site) -> None:
    share(drive, "1a", CONTENT)
    cuts = iter([10**9, 100_000, 10**9, 50_000])
    drive.cut_after = lambda: next(cuts, 10**9)

    assert Fetcher(tmp_path).fetch("gdrive:1a") == CONTENT
    assert media(drive) == [None, "bytes=100000-", "bytes=150000-"]


def test_changed_content_is_downloaded_from_the_beginning(tmp_path: Path, drive: Site) -> None:
    share(drive, "1a", CONTENT)
    cuts = iter([10**9, 100_000])
    drive.cut_after = lambda: next(cuts, 10**9)
    fetcher = Fetcher(tmp_path, attempts=1)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch("gdrive:1a")
    other = bytes(reversed(CONTENT))
    share(drive, "1a", other)

    assert fetcher.fetch("gdrive:1a", digest_of_bytes(other)) == other
    assert media(drive) == [None, None]


def test_a_complete_partial_file_is_downloaded_again(tmp_path: Path, drive: Site) -> None:
    share(drive, "1a", CONTENT)
    fetcher = Fetcher(tmp_path)
    fetcher.fetch("gdrive:1a")

    assert fetcher.fetch("gdrive:1a") == CONTENT


def write_account(path: Path, token_uri: str) -> str:
    """Write a service account's file in Google's format; returns the secret in it."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    stated = {
        "type": "service_account",
        "client_email": "tests@example.com",
        "private_key": key.decode(),
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(stated))
    return key.decode().splitlines()[1]


def test_a_service_account_gets_a_token_first(
    tmp_path: Path, drive: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(drive, "1a", CONTENT)
    answer = json.dumps({"access_token": "given", "expires_in": 3600, "token_type": "Bearer"})
    with serving(Site({"token": answer.encode()})) as google:
        write_account(tmp_path / "account.json", f"{google.url}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))

        assert Fetcher(tmp_path / "store").fetch("gdrive:1a") == CONTENT

    assert [head["Authorization"] for head in drive.heads] == ["Bearer given", "Bearer given"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, ConfigError), ("{}", SourceRefused), ("no json", SourceRefused)],
)
def test_an_unreadable_service_account_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, kind: type[Exception]
) -> None:
    path = tmp_path / "account.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    with pytest.raises(kind, match=r"account\.json"):
        Fetcher(tmp_path / "store").fetch("gdrive:1a")


def test_a_service_account_without_a_token_is_refused(
    tmp_path: Path, drive: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(drive, "1a", CONTENT)
    path = tmp_path / "account.json"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    secret = write_account(path, "http://127.0.0.1:9/token")
    with pytest.raises(SourceUnavailable, match="TransportError") as caught:
        Fetcher(tmp_path / "store", attempts=1).fetch("gdrive:1a")
    assert secret not in str(caught.value)
    with serving(Site({}, statuses=[400])) as google:
        write_account(path, f"{google.url}/token")
        with pytest.raises(SourceRefused, match="RefreshError"):
            Fetcher(tmp_path / "store", attempts=1).fetch("gdrive:1a")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denied_or_missing_file_is_refused(tmp_path: Path, drive: Site, status: int) -> None:
    drive.statuses = [status]
    with pytest.raises(SourceRefused, match=str(status)):
        Fetcher(tmp_path).fetch("gdrive:1a")


def test_a_google_doc_without_content_is_refused(tmp_path: Path, drive: Site) -> None:
    drive.files["drive/v3/files/1a?fields"] = b"{}"
    with pytest.raises(SourceRefused, match="size Field required"):
        Fetcher(tmp_path).fetch("gdrive:1a")


def test_rate_limiting_is_retryable(tmp_path: Path, drive: Site) -> None:
    share(drive, "1a", CONTENT)
    drive.statuses = [403]
    drive.refusal = json.dumps({"error": {"errors": [{"reason": "rateLimitExceeded"}]}}).encode()

    assert Fetcher(tmp_path).fetch("gdrive:1a") == CONTENT


def test_a_refused_connection_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_DRIVE_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable):
        Fetcher(tmp_path).fetch("gdrive:1a")


@pytest.mark.parametrize("address", ["gdrive:", "gdrive:1a/tiny.cfg", "gdrive://1a"])
def test_an_address_without_a_file_is_an_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="in the `source` of each file"):
        Fetcher(tmp_path).fetch(address)


def test_a_run_publishes_a_model_and_leaks_no_secret(
    tmp_path: Path, drive: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    source = write_source(tmp_path / "source")
    files = {}
    for number, name in enumerate(FILES):
        share(drive, f"id{number}", (source / name).read_bytes())
        files[name] = {"source": f"gdrive:id{number}"}
    there = write_config(tmp_path / "a.yaml", wanted("") | {"files": files})
    missing = {**files, FILES[0]: {"source": "gdrive:nowhere"}}
    other = write_config(tmp_path / "b.yaml", wanted("", name="b") | {"files": missing})
    store = tmp_path / "store"

    assert provision(store, there, SECRET)[0] == 0
    assert provision(store, other, SECRET)[0] == 1
