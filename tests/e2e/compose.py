"""Runs docker-compose.yml as a separate project: starts, scales and removes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.tiers import PORTS
from tests.support.waiting import wait_until

_MINUTES_S = 300.0


@dataclass(frozen=True)
class Compose:
    """A running project."""

    project: str
    port: int
    variables: dict[str, str] = field(default_factory=dict)
    """Profiles of docker-compose.yml."""

    @property
    def url(self) -> str:
        """The URL of web."""
        return f"http://{LOOPBACK}:{self.port}"

    def run(self, *arguments: str) -> str:
        """Run a command of compose and return what it printed."""
        return _run(
            [*compose_command(), "--project-name", self.project, *arguments],
            {"WEB_PORT": str(self.port), "INFERENCE_CPUS": "1", **self.variables},
        )

    def scale(self, **copies: int) -> None:
        """Scale services, and wait until all of their containers are healthy."""
        wanted = [f"--scale={service}={number}" for service, number in copies.items()]
        self.run("up", "--detach", *wanted)
        for service, number in copies.items():
            wait_until(lambda: len(self.healthy(service)) == number, service, _MINUTES_S)  # noqa: B023

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers, stopped ones included."""
        wanted = {"project": self.project, "service": service, "oneoff": "False"}
        labels = [f"--filter=label=com.docker.compose.{key}={is_}" for key, is_ in wanted.items()]
        return docker("ps", "--quiet", "--all", *labels).split()

    def healthy(self, service: str) -> list[str]:
        """Return the healthy containers of a service."""
        return [
            one
            for one in self.containers(service)
            if inspect(one)["State"].get("Health", {}).get("Status") == "healthy"
        ]


def inspect(container: str) -> dict[str, Any]:
    """Return the engine's description of a container."""
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


def docker(*arguments: str) -> str:
    """Run a command of the engine and return what it printed."""
    return _run(["docker", *arguments])


def answered(container: str) -> float:
    """Return the number of pictures that an inference container has served."""
    ask = (
        "import urllib.request as web;"
        f"print(web.urlopen('http://127.0.0.1:{PORTS['inference']}/metrics').read().decode())"
    )
    metrics = docker("exec", container, "python", "-c", ask)
    name = "elastic_yolo_model_pictures_total{"
    lines = [line for line in metrics.splitlines() if line.startswith(name)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@contextmanager
def running(*profiles: str, **variables: str) -> Iterator[Compose]:
    """Start a project, and remove it with its volumes and networks."""
    compose = Compose(f"elastic-yolo-{uuid.uuid4().hex[:8]}", free_port(), variables)
    chosen = [f"--profile={profile}" for profile in profiles]
    try:
        compose.run(*chosen, "up", "--detach")
        wait_until(lambda: is_ready(compose.url), "web is ready", _MINUTES_S)
        yield compose
    finally:
        compose.run(*chosen, "down", "--volumes", "--timeout", "5")


def is_ready(url: str) -> bool:
    """Return whether web and all downstream services are ready."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def compose_command() -> list[str]:
    """Return the command of compose: docker's plug-in, or the stand-alone program."""
    return ["docker", "compose"] if _is_plugin() else ["docker-compose"]


def why_not() -> str | None:
    """Return the reason why no container can run here, or None."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    result = subprocess.run(["docker", "info"], capture_output=True, check=False)  # noqa: S607
    return None if result.returncode == 0 else "the docker engine does not answer"


def _is_plugin() -> bool:
    result = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)  # noqa: S607
    return result.returncode == 0


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_MINUTES_S,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout
