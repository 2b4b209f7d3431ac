"""Models of Hugging Face, from a small server that imitates its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources import Pinned
from elastic_yolo.provision.sources.huggingface import pin_huggingface
from tests.provision.fetching import CONTENT, Fetcher
from tests.provision.secrets import provision
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.servers import Site, serving

SECRET = "hf_token-of-the-tests"  # noqa: S105
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving(Site({}, headers={"X-Repo-Commit": COMMIT})) as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        yield site


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("hf://a/b/file", "a/b/resolve/main/file"),
        ("hf://a/b@v1.0/deep/er/file", "a/b/resolve/v1.0/deep/er/file"),
        ("hf://a/b@refs%2Fpr%2F1/file", "a/b/resolve/refs%2Fpr%2F1/file"),
    ],
)
def test_a_file_comes_from_its_revision(tmp_path: Path, hub: Site, address: str, path: str) -> None:
    hub.files[path] = CONTENT

    assert Fetcher(tmp_path).fetch(address) == CONTENT
    assert "Authorization" not in hub.heads[0]


def test_an_interrupted_download_resumes(tmp_path: Path, hub: Site) -> None:
    hub.files["a/b/resolve/main/file"] = CONTENT
    cuts = iter([100_000, 50_000])
    hub.cut_after = lambda: next(cuts, 10**9)

    assert Fetcher(tmp_path).fetch("hf://a/b/file") == CONTENT
    assert [asked for _, asked in hub.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_changed_content_is_downloaded_from_the_beginning(tmp_path: Path, hub: Site) -> None:
    hub.files["a/b/resolve/main/file"] = CONTENT
    cuts = iter([100_000])
    hub.cut_after = lambda: next(cuts, 10**9)
    fetcher = Fetcher(tmp_path, attempts=1)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch("hf://a/b/file")
    other = bytes(reversed(CONTENT))
    hub.files["a/b/resolve/main/file"], hub.etag = other, '"two"'

    assert fetcher.fetch("hf://a/b/file", digest_of_bytes(other)) == other


def test_the_token_is_not_sent_to_the_target_of_a_redirect(
    tmp_path: Path, hub: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with serving(Site({"blob": CONTENT})) as storage:
        hub.redirects = {"a/b/resolve/main/file": f"{storage.url}/blob"}
        assert Fetcher(tmp_path).fetch("hf://a/b/file") == CONTENT

    assert hub.heads[0]["Authorization"] == f"Bearer {SECRET}"
    assert storage.asked == [("/blob", None)]
    assert "Authorization" not in storage.heads[0]


def test_a_revision_is_pinned_to_its_commit(hub: Site) -> None:
    hub.files["a/b/resolve/main/deep/file"] = CONTENT
    hub.redirects = {"old/b/resolve/main/file": "/a/b/resolve/main/deep/file"}

    assert pin_huggingface("hf://a/b/deep", "file") == Pinned(f"hf://a/b@{COMMIT}/deep", COMMIT)
    assert pin_huggingface("hf://old/b", "file") == Pinned(f"hf://old/b@{COMMIT}", COMMIT)
    assert hub.sent == 0
    hub.asked.clear()
    assert pin_huggingface(f"hf://a/b@{COMMIT}", "file") == Pinned(f"hf://a/b@{COMMIT}", COMMIT)
    assert hub.asked == []


def test_a_mirror_without_commits_has_no_versions(hub: Site) -> None:
    hub.files["a/b/resolve/main/file"] = CONTENT
    hub.headers = {}

    assert pin_huggingface("hf://a/b", "file") is None


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_denied_or_missing_file_is_refused(tmp_path: Path, hub: Site, status: int) -> None:
    hub.headers = {}
    hub.statuses = [status, status]
    with pytest.raises(SourceRefused, match=str(status)):
        Fetcher(tmp_path).fetch("hf://a/b/file")
    with pytest.raises(SourceRefused, match=str(status)):
        pin_huggingface("hf://a/b", "file")


def test_a_refused_connection_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable):
        Fetcher(tmp_path).fetch("hf://a/b/file")
    with pytest.raises(SourceUnavailable):
        pin_huggingface("hf://a/b", "file")


@pytest.mark.parametrize("address", ["hf://a", "hf:a/b/c", "hf://a/b@@c/d", "hf://a/b@x@y/z"])
def test_an_address_without_a_repository_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match="hf://OWNER/REPO"):
        pin_huggingface(address, "file")


def test_a_run_publishes_a_model_and_leaks_no_secret(
    tmp_path: Path, hub: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    source = write_source(tmp_path / "source")
    for name in FILES:
        for revision in ("main", COMMIT):
            hub.files[f"a/b/resolve/{revision}/{name}"] = (source / name).read_bytes()
    there = write_config(tmp_path / "a.yaml", wanted("hf://a/b"))
    missing = write_config(tmp_path / "b.yaml", wanted("hf://a/missing", name="b", version="1"))
    hub.headers = {"X-Repo-Commit": COMMIT}
    store = tmp_path / "store"

    status, said = provision(store, there, SECRET)
    assert (status, COMMIT in said) == (0, True)
    assert all(head["Authorization"] == f"Bearer {SECRET}" for head in hub.heads)
    assert provision(store, missing, SECRET)[0] == 1
