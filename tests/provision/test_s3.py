"""Models in S3 buckets, from a moto server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from tests.provision.fetcher import CONTENT, Fetcher
from tests.provision.file_server import Site, serving
from tests.provision.leaks import provision
from tests.provision.proxy import Proxy, before
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.registries import moto_server

SECRET = "wJalrXUtnFEMI-secret-of-the-tests"  # noqa: S105
BUCKET = "models"


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run moto and return its port."""
    with moto_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set botocore's environment variables."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return monkeypatch


@pytest.fixture
def s3(moto: int, signed: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Return a proxy in front of the server, which botocore uses."""
    with before(moto) as proxy:
        signed.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        yield proxy


@pytest.fixture
def bucket(s3: Proxy) -> Iterator[Any]:
    """Return a client with an empty bucket; its requests are not recorded."""
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    s3.reset()
    yield client
    client.close()


def put(bucket: Any, key: str, content: bytes, proxy: Proxy) -> None:
    bucket.put_object(Bucket=BUCKET, Key=key, Body=content)
    proxy.reset()


def test_an_object_comes_in_one_request(tmp_path: Path, s3: Proxy, bucket: Any) -> None:
    put(bucket, "yolo/1/a file+ä.weights", CONTENT, s3)

    assert Fetcher(tmp_path).fetch(f"s3://{BUCKET}/yolo/1/a file+ä.weights") == CONTENT
    assert len(s3.requests) == 1


def test_an_interrupted_download_resumes(tmp_path: Path, s3: Proxy, bucket: Any) -> None:
    put(bucket, "file", CONTENT, s3)
    s3.cuts = 2
    fetcher = Fetcher(tmp_path)

    assert fetcher.fetch(f"s3://{BUCKET}/file") == CONTENT
    assert fetcher.download.traffic.bytes == len(CONTENT)
    assert len(s3.ranges) == 2
    assert "bytes=0-" not in s3.ranges


def test_changed_content_is_downloaded_from_the_beginning(
    tmp_path: Path, s3: Proxy, bucket: Any
) -> None:
    put(bucket, "file", CONTENT, s3)
    s3.cuts = 1
    other = bytes(reversed(CONTENT))
    fetcher = Fetcher(tmp_path, attempts=1)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch(f"s3://{BUCKET}/file")
    put(bucket, "file", other, s3)

    assert fetcher.fetch(f"s3://{BUCKET}/file", digest_of_bytes(other)) == other
    assert len(s3.ranges) == 1


def test_a_complete_partial_file_is_downloaded_again(
    tmp_path: Path, s3: Proxy, bucket: Any
) -> None:
    """A run may be killed after the last byte, where no valid range begins."""
    put(bucket, "file", CONTENT, s3)
    fetcher = Fetcher(tmp_path)
    fetcher.fetch(f"s3://{BUCKET}/file")

    assert fetcher.fetch(f"s3://{BUCKET}/file") == CONTENT


@pytest.mark.parametrize("address", [f"s3://{BUCKET}/nowhere", "s3://no-such-bucket/file"])
def test_a_missing_file_is_refused_by_the_source(
    tmp_path: Path, s3: Proxy, bucket: Any, address: str
) -> None:
    put(bucket, "file", CONTENT, s3)
    with pytest.raises(SourceRefused, match="status 404 NoSuch"):
        Fetcher(tmp_path).fetch(address)


def test_a_refused_connection_is_retryable(
    tmp_path: Path, s3: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    fetcher = Fetcher(tmp_path)
    with pytest.raises(SourceUnavailable, match="EndpointConnectionError"):
        fetcher.fetch(f"s3://{BUCKET}/file")

    assert len(fetcher.pauses) == 4
    assert s3.requests == []


def test_half_of_the_credentials_are_refused(
    tmp_path: Path, s3: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(SourceRefused, match="PartialCredentialsError"):
        Fetcher(tmp_path).fetch(f"s3://{BUCKET}/file")
    assert s3.requests == []


def test_without_credentials_a_request_is_not_signed(
    tmp_path: Path, s3: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_object(Bucket=BUCKET, Key="file", Body=CONTENT, ACL="public-read")
    s3.reset()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    assert Fetcher(tmp_path).fetch(f"s3://{BUCKET}/file") == CONTENT
    assert "authorization" not in s3.heads.lower()


def test_web_identity_tokens_are_exchanged_for_credentials(
    tmp_path: Path, s3: Proxy, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(bucket, "file", CONTENT, s3)
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", s3.url)

    assert Fetcher(tmp_path / "store").fetch(f"s3://{BUCKET}/file") == CONTENT
    assert f"WebIdentityToken={SECRET}" in s3.heads
    assert "authorization: AWS4-HMAC-SHA256" in s3.heads.replace("Authorization", "authorization")


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalError"), (503, "SlowDown"), (400, "RequestTimeout")]
)
def test_a_busy_server_is_retried_by_download_only(
    tmp_path: Path, signed: pytest.MonkeyPatch, status: int, code: str
) -> None:
    fetcher = Fetcher(tmp_path)
    site = Site({"models/file": CONTENT}, statuses=[status], refusal=refusal(code))
    with serving(site):
        signed.setenv("AWS_ENDPOINT_URL_S3", site.url)
        assert fetcher.fetch("s3://models/file") == CONTENT

    assert (len(site.requests), len(fetcher.pauses)) == (2, 1)


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (400, "ExpiredToken")])
def test_a_refused_file_is_not_requested_again(
    tmp_path: Path, signed: pytest.MonkeyPatch, status: int, code: str
) -> None:
    site = Site({}, statuses=[status], refusal=refusal(code))
    with serving(site):
        signed.setenv("AWS_ENDPOINT_URL_S3", site.url)
        with pytest.raises(SourceRefused, match=f"status {status} {code}") as caught:
            Fetcher(tmp_path).fetch("s3://models/file")

    assert len(site.requests) == 1
    assert "AKIDEXAMPLE" not in str(caught.value)


def refusal(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>AKIDEXAMPLE</Message></Error>".encode()


@pytest.mark.parametrize("address", ["s3://", "s3://bucket", "s3:///key"])
def test_an_address_without_an_object_is_an_error(tmp_path: Path, address: str) -> None:
    with pytest.raises(ConfigError, match="s3://BUCKET/KEY"):
        Fetcher(tmp_path).fetch(address)


def test_a_run_publishes_a_model_and_leaks_no_secret(
    tmp_path: Path, s3: Proxy, bucket: Any
) -> None:
    source = write_source(tmp_path / "source")
    for name in FILES:
        put(bucket, f"tiny/{name}", (source / name).read_bytes(), s3)
    there = write_config(tmp_path / "a.yaml", wanted(f"s3://{BUCKET}/tiny"))
    missing = write_config(tmp_path / "b.yaml", wanted(f"s3://{BUCKET}/missing", name="b"))
    store = tmp_path / "store"

    assert provision(store, there, SECRET)[0] == 0
    assert "AKIDEXAMPLE" in s3.heads
    assert provision(store, missing, SECRET)[0] == 1
    s3.reset()
    assert provision(store, there, SECRET)[0] == 0
    assert s3.requests == []
