"""Models of an MLflow registry: a real server with SQLite that serves artifacts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from elastic_yolo.digest import digest_of_bytes
from elastic_yolo.lab.processes.stack import LOOPBACK, free_port
from elastic_yolo.provision.errors import ConfigError, SourceRefused, SourceUnavailable
from elastic_yolo.provision.sources import Pinned
from elastic_yolo.provision.sources.mlflow import pin_mlflow
from tests.provision.fetcher import CONTENT, Fetcher
from tests.provision.file_server import Site, serving
from tests.provision.leaks import provision
from tests.provision.mlflow_server import Registrar, tracking_server
from tests.provision.proxy import Proxy, before
from tests.support.models import FILES, wanted, write_config, write_source
from tests.support.registries import program, running

SECRET = "token-of-the-tests"  # noqa: S105


@pytest.fixture(scope="module")
def registrar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registrar]:
    with tracking_server(tmp_path_factory.mktemp("mlflow")) as port:
        yield Registrar(port)


@pytest.fixture
def proxy(registrar: Registrar, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Configure the provisioner to use a proxy in front of the server."""
    with before(registrar.port) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{proxy.url}/")
        yield proxy


@pytest.mark.usefixtures("proxy")
def test_the_files_of_a_run_and_of_a_logged_model_come(
    tmp_path: Path, registrar: Registrar
) -> None:
    files = {"a file.weights": CONTENT}
    first = registrar.of_run("both", files)
    second = registrar.of_logged_model("both", files)

    for version in (first, second):
        fetcher = Fetcher(tmp_path / version)
        assert fetcher.fetch(f"models:/both/{version}/a file.weights") == CONTENT


@pytest.mark.usefixtures("proxy")
def test_a_version_is_found_by_number_alias_and_tag(registrar: Registrar) -> None:
    for _ in range(3):
        registrar.of_run("found", {"file": b"x"})
    registrar.alias("found", "production", "1")
    for version in ("1", "2"):
        registrar.tag("found", version, "stage", "ready to/go")

    assert pin_mlflow("models:/found@production", "file") == Pinned("models:/found/1", "1")
    assert pin_mlflow("models:/found#stage=ready to/go", "file") == Pinned("models:/found/2", "2")
    assert pin_mlflow("models:/found/latest", "file") == Pinned("models:/found/3", "3")
    assert pin_mlflow("models:/found/2", "file") == Pinned("models:/found/2", "2")


def test_an_interrupted_download_resumes(
    tmp_path: Path, registrar: Registrar, proxy: Proxy
) -> None:
    version = registrar.of_run("cut", {"file": CONTENT})
    proxy.cuts = 2
    fetcher = Fetcher(tmp_path)

    assert fetcher.fetch(f"models:/cut/{version}/file") == CONTENT
    assert fetcher.download.traffic.bytes == len(CONTENT)
    assert len(proxy.ranges) == 2


def test_changed_content_is_downloaded_from_the_beginning(
    tmp_path: Path, registrar: Registrar, proxy: Proxy
) -> None:
    run, place = registrar.run()
    registrar.upload(place, {"file": CONTENT})
    version = registrar.version("changed", place, run_id=run)
    proxy.cuts = 1
    fetcher = Fetcher(tmp_path, attempts=1)
    with pytest.raises(SourceUnavailable):
        fetcher.fetch(f"models:/changed/{version}/file")
    other = CONTENT[1:] + b"other"
    registrar.upload(place, {"file": other})

    assert fetcher.fetch(f"models:/changed/{version}/file", digest_of_bytes(other)) == other


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize(
    "address", ["there/1/nowhere", "there/9/file", "nowhere/1/file", "there@alias/file"]
)
def test_a_missing_file_is_refused_by_the_source(
    tmp_path: Path, registrar: Registrar, address: str
) -> None:
    registrar.of_run("there", {"file": b"x"})
    with pytest.raises(SourceRefused, match="status 4"):
        Fetcher(tmp_path).fetch(f"models:/{address}")


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("folder", ["models:/there#no=tag", "models:/nothing/latest"])
def test_a_tag_that_no_version_has_is_refused(folder: str) -> None:
    with pytest.raises(SourceRefused, match="no such version"):
        pin_mlflow(folder, "file")


def test_a_refused_connection_is_retryable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(SourceUnavailable):
        Fetcher(tmp_path).fetch("models:/there/1/file")


@pytest.mark.parametrize(
    "folder",
    ["models:/", "models:/a", "models:/a/Production", "models:/a#b", "models:/a#k='1' OR 'a'='a'"],
)
def test_an_address_without_a_version_is_an_error(folder: str) -> None:
    with pytest.raises(ConfigError, match="models:/NAME/VERSION"):
        pin_mlflow(folder, "file")


@pytest.mark.parametrize("stated", ["", "sqlite:///mlflow.db", "databricks"])
def test_a_tracking_uri_without_a_server_is_an_error(
    stated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stated)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI: expected"):
        pin_mlflow("models:/a@b", "file")


@pytest.mark.usefixtures("proxy")
def test_files_that_mlflow_keeps_in_a_folder_are_read_there(
    tmp_path: Path, registrar: Registrar
) -> None:
    run, place = registrar.run(registrar.experiment("mounted", (tmp_path / "there").as_uri()))
    folder = Path(place.removeprefix("file://"))
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(CONTENT)
    version = registrar.version("mounted", place, run_id=run)

    assert Fetcher(tmp_path / "store").fetch(f"models:/mounted/{version}/file") == CONTENT


@pytest.mark.usefixtures("proxy")
def test_files_that_mlflow_keeps_in_a_bucket_are_read_there(
    tmp_path: Path, registrar: Registrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    command = [program("bin/moto_server"), "-H", LOOPBACK, "-p", str(port)]
    (tmp_path / "moto").mkdir()
    with running(command, port, "/moto-api/data.json", tmp_path / "moto", {}), before(port) as s3:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        run, place = registrar.run(registrar.experiment("bucket", "s3://models/mlflow"))
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        key = f"{place.removeprefix('s3://models/')}/file"
        client.put_object(Bucket="models", Key=key, Body=CONTENT)
        client.close()
        s3.cuts = 1
        version = registrar.version("bucket", place, run_id=run)
        fetcher = Fetcher(tmp_path / "store")

        assert fetcher.fetch(f"models:/bucket/{version}/file") == CONTENT
        assert fetcher.download.traffic.bytes == len(CONTENT)
        assert len(s3.ranges) == 1


@pytest.mark.parametrize("place", ["gs://bucket/model", "dbfs:/model", "https://host/model"])
def test_files_at_a_place_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    path = "api/2.0/mlflow/model-versions/get-download-uri"
    with serving(Site({path: json.dumps({"artifact_uri": place}).encode()})) as site:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", site.url)
        with pytest.raises(SourceRefused, match="which cannot be read"):
            Fetcher(tmp_path).fetch("models:/a/1/file")


def test_the_token_is_not_sent_to_another_tracking_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    path = "api/2.0/mlflow/model-versions/get-download-uri"
    with serving(Site({})) as other, serving(Site({})) as site:
        place = f"mlflow-artifacts://{other.url.removeprefix('http://')}/model"
        site.files[path] = json.dumps({"artifact_uri": place}).encode()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", site.url)
        with pytest.raises(SourceRefused, match="another tracking server"):
            Fetcher(tmp_path).fetch("models:/a/1/file")

    assert other.requests == []


@pytest.mark.parametrize("place", ["models:/m-0a", "runs:/0a/model"])
def test_artifacts_of_a_logged_model_or_a_run_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """MLflow's server resolves these locations itself; compatible servers may not."""
    info = {"info": {"artifact_uri": "mlflow-artifacts:/there"}}
    logged = json.dumps({"model": info}).encode()
    site = Site(
        {
            "api/2.0/mlflow/model-versions/get-download-uri": json.dumps(
                {"artifact_uri": place}
            ).encode(),
            "api/2.0/mlflow/logged-models/m-0a": logged,
            "api/2.0/mlflow/runs/get": json.dumps({"run": info}).encode(),
            "api/2.0/mlflow-artifacts/artifacts/there/file": CONTENT,
            "api/2.0/mlflow-artifacts/artifacts/there/model/file": CONTENT,
        }
    )
    with serving(site):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", site.url)
        assert Fetcher(tmp_path).fetch("models:/a/1/file") == CONTENT


@pytest.mark.parametrize(
    ("stated", "sent"),
    [
        ({"MLFLOW_TRACKING_TOKEN": SECRET}, f"Bearer {SECRET}"),
        pytest.param(
            {"MLFLOW_TRACKING_USERNAME": "user", "MLFLOW_TRACKING_PASSWORD": SECRET},
            "Basic dXNlcjp0b2tlbi1vZi10aGUtdGVzdHM=",
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_run_publishes_a_model_and_leaks_no_secret(
    tmp_path: Path,
    registrar: Registrar,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    stated: dict[str, str],
    sent: str,
) -> None:
    for name, value in stated.items():
        monkeypatch.setenv(name, value)
    source = write_source(tmp_path / "source")
    version = registrar.of_logged_model("job", {n: (source / n).read_bytes() for n in FILES})
    there = write_config(tmp_path / "a.yaml", wanted(f"models:/job/{version}"))
    missing = write_config(tmp_path / "b.yaml", wanted("models:/job@nowhere", name="b"))
    store = tmp_path / "store"

    status, said = provision(store, there, SECRET, sent)
    assert (status, f'"version": "{version}"' in said) == (0, True)
    assert f"authorization: {sent}\r\n" in proxy.heads.replace("Authorization", "authorization")
    assert provision(store, missing, SECRET, sent)[0] == 1
    proxy.reset()
    assert provision(store, there, SECRET, sent)[0] == 0
    assert proxy.requests == []
