"""Every command of docs/batch.md runs, in the order of the page, and does what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT
from tests.support.doc_commands import commands_of, make_room
from tests.support.examples import codes_of
from tests.support.registries import moto_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
PAGE = "batch.md"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the commands, with a server for S3 that has pictures."""
    s3 = {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
    }
    with (
        moto_server(tmp_path_factory.mktemp("moto")) as port,
        pytest.MonkeyPatch.context() as patch,
    ):
        s3["AWS_ENDPOINT_URL_S3"] = f"http://{LOOPBACK}:{port}"
        for name, value in s3.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        for bucket in ("pictures", "results"):
            client.create_bucket(Bucket=bucket)
        for path in (ROOT / "client" / "images").glob("scene-0*"):
            client.upload_file(str(path), "pictures", f"2026/11/{path.name}")
        client.close()
        binaries = ROOT / ".venv" / "bin"
        yield {**os.environ, **s3, "PATH": f"{binaries}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, with a little data set where the page has COCO's."""
    room = make_room(tmp_path_factory.mktemp("room"))
    (room / "yolov3-tiny").symlink_to(DEMO_MODEL)
    (room / "val2017").mkdir()
    truth = json.loads((ROOT / "client" / "images" / "truth.json").read_text())
    labels = sorted((DEMO_MODEL / "yolov3-tiny-emoji.names").read_text().split("\n"))
    categories = [{"id": number, "name": label} for number, label in enumerate(labels, 1)]
    names = sorted(truth)
    for name in names:
        (room / "val2017" / name).symlink_to(ROOT / "client" / "images" / name)
    images = [{"id": number, "file_name": name} for number, name in enumerate(names, 1)]
    annotations = [
        {
            "image_id": names.index(name) + 1,
            "category_id": labels.index(label) + 1,
            "bbox": [x - width / 2, y - height / 2, width, height],
            "area": width * height,
            "iscrowd": 0,
        }
        for name, picture in truth.items()
        for label, (x, y, width, height) in picture["objects"]
    ]
    numbered = [{"id": number, **one} for number, one in enumerate(annotations, 1)]
    ground = {"info": {}, "images": images, "categories": categories, "annotations": numbered}
    (room / "instances_val2017.json").write_text(json.dumps(ground))
    return room


def test_the_commands_of_the_page_run(room: Path, environment: dict[str, str]) -> None:
    """In one shell each, as they stand on the page."""
    outputs: dict[str, str] = {}
    for command in commands_of(PAGE):
        if ".venv-ray" in command and not (ROOT / ".venv-ray" / "ready").exists():
            continue
        ended = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=room, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        killed = command.startswith("timeout")
        assert ended.returncode == 0 or killed, (command, ended.stdout, ended.stderr)
        outputs[command] = ended.stdout + ended.stderr

    said = "\n".join(outputs.values())
    assert re.search(r"640 pictures in batch-pictures, \d+ of them done before", said)
    assert outputs["cat batch-killed/results-*.jsonl | wc -l"].strip() == "640"
    first = (room / "batch-output" / "results-00000.jsonl").read_text().splitlines()[0]
    assert json.loads(first)["picture"] == "calibration/01.jpg"
    assert json.loads((room / "batch-fast" / "manifest.json").read_text())["pictures"] == 66
    shares = [room / "batch-shared" / f"index-{n}-of-2" / "results-00000.jsonl" for n in (0, 1)]
    lines = sorted(line for share in shares for line in share.read_text().splitlines())
    assert lines == sorted((room / "batch-output" / "results-00000.jsonl").read_text().splitlines())


def test_the_results_of_the_page_are_evaluated_by_pycocotools(
    room: Path, environment: dict[str, str]
) -> None:
    """The page's own example, on what its command wrote."""
    (code,) = codes_of(PAGE)
    command = next(one for one in commands_of(PAGE) if "--format coco --threshold" in one)
    subprocess.run(["/bin/bash", "-c", command], cwd=room, env=environment, check=True)

    ended = subprocess.run(
        [ROOT / ".venv" / "bin" / "python", "-c", code],
        cwd=room, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr
    found = re.search(r"IoU=0.50 +\| area= +all .* = (\d\.\d+)", ended.stdout)
    assert found, ended.stdout
    assert float(found[1]) > 0.9
