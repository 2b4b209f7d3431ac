"""The profiles batch and stream of docker-compose.yml: detection without the services."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import ROOT, free_port
from tests.e2e.compose import Compose, docker, inspect, why_not
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

PICTURES = ROOT / "client" / "images"
SCENES = sorted(path for path in PICTURES.glob("scene-*"))
OF_DEBIAN = "elastic-yolo/redis-of-debian"


@contextmanager
def project(profile: str, **variables: str) -> Iterator[Compose]:
    """Yield a project of which nothing runs yet, and remove what does in the end."""
    if reason := why_not():
        pytest.fail(f"make e2e needs containers: {reason}")
    compose = Compose(f"elastic-yolo-{uuid.uuid4().hex[:8]}", free_port(), variables)
    try:
        yield compose
    finally:
        compose.run(f"--profile={profile}", "down", "--volumes", "--timeout", "5")


def read_volume(compose: Compose, script: str) -> str:
    """Return the output of a shell in a container with the volumes of a job."""
    run = ("--profile=batch", "run", "--rm", "--no-deps", "--entrypoint", "sh", "batch", "-c")
    return compose.run(*run, script)


def test_a_job_writes_a_result_for_every_picture() -> None:
    with project("batch", JOB="one", BATCH_CPUS="1") as compose:
        printed = compose.run("--profile=batch", "run", "--rm", "batch")
        lines = read_volume(compose, "cat /results/one/results-*.jsonl").splitlines()
        again = compose.run("--profile=batch", "run", "--rm", "batch")

    found = {json.loads(line)["picture"] for line in lines}
    assert found >= {path.name for path in SCENES}
    assert len(lines) == len(found)
    assert f"{len(found)} pictures in " in printed
    # The same job once more has nothing left to do.
    assert f"{len(found)} pictures in " in again


def redis_image(folder: Path) -> str:
    """Return REDIS_IMAGE, or build an image with Debian's Redis."""
    if image := os.environ.get("REDIS_IMAGE"):
        return image
    base = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
    (folder / "Dockerfile").write_text(
        f"FROM {base}\nRUN apt-get update -qq && apt-get install -qq --no-install-recommends "
        "redis-server && install -d -o redis -g redis /data\nUSER redis\n"
    )
    docker("build", "--quiet", "--network", "host", "--tag", OF_DEBIAN, str(folder))
    return OF_DEBIAN


def redis(container: str, *command: str, picture: bytes | None = None) -> str:
    """Run a command of redis-cli in a container; a picture becomes its last argument."""
    options = ["-x"] if picture is not None else []
    done = subprocess.run(
        ["docker", "exec", "--interactive", container, "redis-cli", *options, *command],  # noqa: S607
        input=picture,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode().strip()


def results_in(container: str) -> list[dict[str, Any]]:
    """Return the results that were written to the stream."""
    lines = redis(container, "--json", "XRANGE", "results", "-", "+")
    return [
        json.loads(dict(zip(fields[::2], fields[1::2], strict=True))["result"])
        for _, fields in json.loads(lines)
    ]


def test_consumers_share_a_stream_and_drain_when_they_are_stopped(tmp_path: Path) -> None:
    variables = {"REDIS_IMAGE": redis_image(tmp_path), "REDIS_PORT": str(free_port())}
    with project("stream", **variables) as compose:
        compose.run("--profile=stream", "up", "--detach", "--scale=stream=2", "redis", "stream")
        (broker,) = compose.containers("redis")
        for path in SCENES:
            redis(broker, "XADD", "pictures", "*", "name", path.name, "picture",
                  picture=path.read_bytes())  # fmt: skip
        wait_until(lambda: len(results_in(broker)) >= len(SCENES), "all are answered", 120)
        results = results_in(broker)
        consumers = compose.containers("stream")
        docker("stop", *consumers)
        ended = [inspect(one)["State"]["ExitCode"] for one in consumers]
        config = inspect(consumers[0])

    assert {one["fields"]["name"] for one in results} == {path.name for path in SCENES}
    assert all(one["data"] for one in results)
    assert ended == [0, 0]
    assert config["Config"]["User"] == "10001:10001"
    assert config["HostConfig"]["ReadonlyRootfs"] is True
