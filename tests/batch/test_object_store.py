"""Input and output in an object store, here a moto server, and in other file systems of fsspec."""

from __future__ import annotations

import io
import json
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import fsspec
import pytest

from elastic_yolo.cli.errors import TRY_AGAIN
from elastic_yolo.lab.processes.stack import LOOPBACK
from tests.batch.conftest import Batch
from tests.support.batches import read_results, started, write_pictures
from tests.support.registries import moto_server
from tests.support.waiting import wait_until

BUCKET = "pictures"
COUNT, BAD = 60, (3, 30)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run moto and return its port."""
    with moto_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set botocore's environment variables; nobody listens at the address."""
    for name, value in {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL_S3": f"http://{LOOPBACK}:9",
        # Fewer than botocore's own, which take a minute.
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.config.conf.clear()
    return monkeypatch


@pytest.fixture
def bucket(moto: int, endpoint: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client of the server, with an empty bucket."""
    endpoint.setenv("AWS_ENDPOINT_URL_S3", f"http://{LOOPBACK}:{moto}")
    # Of an earlier test, with what it listed.
    fsspec.filesystem("s3").clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    yield client
    client.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return 60 files, of which two are no pictures."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "in", COUNT, BAD)


def upload(client: Any, folder: Path) -> None:
    """Upload the pictures, and archives of them."""
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        for path in sorted(folder.iterdir()):
            client.put_object(Bucket=BUCKET, Key=f"in/{path.name}", Body=path.read_bytes())
            archive.write(path, path.name)
    client.put_object(Bucket=BUCKET, Key="all.zip", Body=packed.getvalue())
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as archive:
        archive.add(folder, "./")
    client.put_object(Bucket=BUCKET, Key="all.tar.gz", Body=packed.getvalue())
    lines = "".join(f"in/{path.name}\n" for path in sorted(folder.iterdir()))
    client.put_object(Bucket=BUCKET, Key="all.txt", Body=lines.encode())


def download(client: Any, prefix: str, folder: Path) -> Path:
    """Download everything below a prefix; return its folder."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        for entry in page.get("Contents", []):
            path = folder / entry["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
    return folder / prefix


@pytest.mark.parametrize("source", ["in", "in/*.png", "all.zip", "all.tar.gz", "all.txt"])
def test_pictures_come_from_a_bucket_and_results_go_there(
    batch: Batch, bucket: Any, folder: Path, tmp_path: Path, source: str
) -> None:
    upload(bucket, folder)
    options = (
        "--shard-size",
        "25",
        "--format",
        "jsonl",
        "--format",
        "drawn",
        "--format",
        "parquet",
    )
    output = f"s3://{BUCKET}/out/"

    assert batch(f"s3://{BUCKET}/{source}", output, *options) == 0
    assert batch(folder, tmp_path / "local", *options) == 0

    found = download(bucket, "out", tmp_path)
    results = {Path(name).name: data for name, data in read_results(found).items()}
    assert results == read_results(tmp_path / "local")
    names = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    shards = {
        f"results-{shard:05}.{suffix}" for shard in range(3) for suffix in ("jsonl", "parquet")
    }
    assert {name for name in names if "/" not in name} == {*shards, "errors.jsonl", "manifest.json"}
    assert len(names) == 6 + 2 + COUNT - len(BAD)
    # Again, it changes nothing.
    assert batch(f"s3://{BUCKET}/{source}", output, *options) == 0


@pytest.mark.long
@pytest.mark.parametrize("source", ["in", "all.zip"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_is_killed_goes_on(
    batch: Batch, tiny_model: Path, bucket: Any, folder: Path, tmp_path: Path, source: str,
    number: int,
) -> None:  # fmt: skip
    upload(bucket, folder)
    arguments = ("--input", f"s3://{BUCKET}/{source}", "--output", f"s3://{BUCKET}/out")
    options = ("--shard-size", "2")

    def shards() -> int:
        found = bucket.list_objects_v2(Bucket=BUCKET, Prefix="out/results-").get("Contents", [])
        return len(found)

    with started(*arguments, "--model", tiny_model, *options) as process:
        wait_until(lambda: shards() > 3, "four shards", 100)
        process.send_signal(number)
        _, said = process.communicate(timeout=100)

    assert process.returncode == (TRY_AGAIN if number == signal.SIGTERM else -number), said
    stored = bucket.get_object(Bucket=BUCKET, Key="out/checkpoint.json")["Body"].read()
    assert 0 < json.loads(stored)["done"] < COUNT
    assert batch(*arguments[1::2], *options) == 0
    found = download(bucket, "out", tmp_path)
    assert len(read_results(found)) == COUNT - len(BAD)
    assert len((found / "errors.jsonl").read_text().splitlines()) == len(BAD)
    assert not list(found.glob("errors-*"))
    assert not (found / "checkpoint.json").exists()


@pytest.mark.parametrize("away", ["input", "output"])
def test_a_server_that_is_away_is_temporary(
    batch: Batch, endpoint: pytest.MonkeyPatch, folder: Path, tmp_path: Path, away: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    del endpoint
    fsspec.filesystem("s3").clear_instance_cache()
    addresses = {"input": str(folder), "output": str(tmp_path / "out"), away: f"s3://{BUCKET}/x"}

    assert batch(addresses["input"], addresses["output"]) == TRY_AGAIN

    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"elastic-yolo: s3://{BUCKET}/x")
    assert "connect" in said.lower()


@pytest.mark.parametrize(
    ("source", "output", "why"),
    [
        (f"s3://{BUCKET}/nothing", "out", f"s3://{BUCKET}/nothing: "),
        ("s3://no-such-bucket/in", "out", "s3://no-such-bucket/in: "),
        (f"s3://{BUCKET}/gone.zip", "out", f"s3://{BUCKET}/gone.zip: "),
        (f"s3://{BUCKET}/gone.txt", "out", f"s3://{BUCKET}/gone.txt: "),
        ("", "s3://no-such-bucket/out", "s3://no-such-bucket/out/checkpoint.json: "),
        ("", "s3://_/out", "s3://_/out/"),
    ],
)
def test_what_is_not_in_the_store_is_named(
    batch: Batch, bucket: Any, folder: Path, tmp_path: Path, source: str, output: str, why: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    del bucket
    target = output if "://" in output else str(tmp_path / output)

    assert batch(source or folder, target) == 1

    assert capsys.readouterr().err.splitlines()[-1].startswith(f"elastic-yolo: {why}")


def test_an_object_that_vanishes_is_a_bad_picture(
    batch: Batch, bucket: Any, folder: Path, tmp_path: Path
) -> None:
    upload(bucket, folder)
    (tmp_path / "all.txt").write_text(f"s3://{BUCKET}/in/0000.png\ns3://{BUCKET}/in/gone.png\n")

    assert batch(tmp_path / "all.txt", tmp_path / "out") == 0

    (line,) = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    assert json.loads(line)["picture"].endswith("gone.png")
    assert json.loads(line)["type"] == "FileNotFoundError"


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_other_file_systems_keep_results_as_well(
    batch: Batch, folder: Path, tmp_path: Path, scheme: str
) -> None:
    """They rename a file when it is whole."""
    output = f"{scheme}://{tmp_path}/out"
    options = ("--shard-size", "25", "--format", "jsonl", "--format", "drawn")
    assert batch(folder, output, *options, "--max-errors", "0") == 1
    system = fsspec.filesystem(scheme)
    assert system.exists(f"{tmp_path}/out/checkpoint.json")

    for _ in range(2):
        assert batch(folder, output, *options) == 0

    root = f"{tmp_path}/out"
    found = {name.removeprefix(f"{root}/") for name in system.find(root)}
    lines = [
        line for name in found if name.startswith("results-")
        for line in system.cat_file(f"{root}/{name}").splitlines()
    ]  # fmt: skip
    assert len(lines) == COUNT - len(BAD)
    assert len([name for name in found if name.startswith("drawn/")]) == COUNT - len(BAD)
    # The first run wrote the shard of the first bad picture.
    shards = {f"results-{shard:05}.jsonl" for shard in range(4)}
    assert {name for name in found if "/" not in name} == {*shards, "errors.jsonl", "manifest.json"}
