"""The whole pipeline in containers: start, detection, scaling and failures."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from client.truth import read_truth
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.tiers import TIERS
from tests.e2e.compose import Compose, answered, docker, inspect, is_ready, running, why_not
from tests.support.load import Load
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

IMAGES = ROOT / "client" / "images"
PICTURE = (IMAGES / "scene-01.jpg").read_bytes()


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    reason = why_not()
    if reason is not None:
        pytest.fail(f"make e2e needs containers: {reason}")
    with running() as project:
        yield project


@pytest.mark.parametrize("image", [*TIERS, "tools"])
def test_an_image_holds_only_what_its_role_needs(compose: Compose, image: str) -> None:  # noqa: ARG001
    """No compiler, no weights but the embedded model's, and no secret of the building machine."""
    look = "command -v gcc cc ld make git curl; find / -xdev -name '*.weights' 2>/dev/null; true"
    there = docker("run", "--rm", "--entrypoint", "sh", f"elastic-yolo/{image}", "-c", look)
    history = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", f"elastic-yolo/{image}")

    weights = "/app/models/demo/yolov3-tiny-emoji.weights"
    assert there.split() == ([weights] if image == "tools" else [])
    assert not re.search("token|password|secret|index-url", history, re.IGNORECASE)


@pytest.mark.parametrize("service", TIERS)
def test_a_stopped_container_drains_and_exits_with_zero(compose: Compose, service: str) -> None:
    (container, *_) = compose.containers(service)
    docker("stop", "--time", "30", container)
    state = inspect(container)["State"]
    docker("start", container)
    wait_until(lambda: is_ready(compose.url), "all is well again", 60)

    assert (state["ExitCode"], state["OOMKilled"]) == (0, False)


def is_right(answer: httpx.Response) -> bool:
    """Return whether the airplane of the first scene was detected."""
    return "airplane" in [label for label, _, _ in answer.json()["data"]]


def test_every_picture_gets_its_detections(compose: Compose) -> None:
    truth = read_truth(IMAGES / "truth.json")
    objects = found = 0
    with httpx.Client(base_url=compose.url, timeout=30) as web:
        for name, picture in truth.items():
            answer = web.post("/inference", files={"image": (IMAGES / name).read_bytes()})
            objects += len(picture.objects)
            found += picture.count_found(answer.raise_for_status().json()["data"])

    assert found / objects >= 0.8


def test_the_model_comes_from_the_provisioned_volume(compose: Compose) -> None:
    answer = httpx.post(f"{compose.url}/inference", files={"image": PICTURE}).json()
    again = compose.run("run", "--rm", "models")

    assert (answer["model"]["name"], answer["model"]["version"]) == ("demo", "1")
    assert "demo 1: present, 0 bytes in 0 requests, 0 new files" in again


@pytest.mark.parametrize("service", TIERS)
def test_a_container_is_locked_down(compose: Compose, service: str) -> None:
    (container, *_) = compose.containers(service)
    stated = inspect(container)
    written = subprocess.run(
        ["docker", "exec", container, "touch", "/app/x"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )

    assert stated["HostConfig"]["ReadonlyRootfs"] is True
    assert stated["HostConfig"]["CapDrop"] == ["ALL"]
    assert stated["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]
    assert docker("exec", container, "id", "-u").strip() == "10001"
    assert "Read-only file system" in written.stderr
    assert all(mount["RW"] is False for mount in stated["Mounts"])


def test_three_inference_containers_share_the_load(compose: Compose) -> None:
    compose.scale(inference=3)
    containers = compose.containers("inference")
    load = Load(f"{compose.url}/inference", PICTURE, is_right)
    with load.running():
        wait_until(lambda: all(answered(one) > 20 for one in containers), "all take part", 60)
        before = [answered(one) for one in containers]
        load.wait_for(150)
        shares = [answered(one) - old for one, old in zip(containers, before, strict=True)]

    assert set(load.statuses) == {200}
    assert min(shares) > sum(shares) / 6, shares


def test_a_killed_container_loses_no_request(compose: Compose) -> None:
    compose.scale(inference=3)
    load = Load(f"{compose.url}/inference", PICTURE, is_right)
    with load.running():
        load.wait_for(50)
        docker("kill", compose.containers("inference")[-1])
        load.wait_for(100)

    assert set(load.statuses) == {200}


def test_a_rolling_restart_loses_no_request(compose: Compose) -> None:
    """Of services with more than one container."""
    compose.scale(inference=2, preprocess=2)
    load = Load(f"{compose.url}/inference", PICTURE, is_right)
    with load.running():
        load.wait_for(30)
        for service in ("inference", "preprocess"):
            for container in compose.containers(service):
                docker("restart", "--time", "30", container)
                wait_until(lambda: container in compose.healthy(service), "it is back", 60)  # noqa: B023
                load.wait_for(30)

    assert set(load.statuses) == {200}


def test_a_new_version_is_served_without_a_restart(compose: Compose, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "models.example.yaml").read_text()
    config = tmp_path / "models.yaml"
    config.write_text(text.replace('version: "1"', 'version: "2"').replace("../models", "models"))
    tmp_path.chmod(0o755)

    def version() -> str:
        answer = httpx.post(f"{compose.url}/inference", files={"image": PICTURE}, timeout=30)
        return str(answer.json()["model"]["version"])

    load = Load(f"{compose.url}/inference", PICTURE, is_right)
    with load.running():
        load.wait_for(20)
        compose.run(
            *("run", "--rm", "-v", f"{config}:/source/models.yaml:ro", "models"),
            *("provision", "--store", "/models", "--config", "/source/models.yaml"),
        )
        wait_until(lambda: version() == "2", "it is served", 60)
        load.wait_for(20)

    assert set(load.statuses) == {200}
