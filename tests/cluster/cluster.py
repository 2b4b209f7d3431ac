"""A cluster for the tests: kubectl, and parsers of its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.tiers import PORTS, TIERS
from tests.support.waiting import wait_until

NAMESPACE = "elastic-yolo"
OVERLAY = os.environ.get("OVERLAY", "minikube")
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Cluster:
    """The namespace of one deployment; `kubectl` is the command that reaches it."""

    kubectl: str

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run a command in the namespace and return what it printed."""
        done = subprocess.run(
            [self.kubectl, "--namespace", NAMESPACE, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return the output of `kubectl get`."""
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def apply(self) -> None:
        """Apply the overlay, and wait for the models and for every tier."""
        self.run("apply", "--kustomize", str(ROOT / "k8s" / "overlays" / OVERLAY))
        self.run("wait", "--for=condition=complete", "job/models-first", "--timeout=600s")
        for tier in reversed(TIERS):
            self.run("rollout", "status", f"deployment/{tier}", "--timeout=300s")

    def ready_pods(self, tier: str) -> list[str]:
        """Return the names of a tier's ready pods."""
        pods = self.get("pods", "--selector", f"app.kubernetes.io/name={tier}")["items"]
        return ready_of(pods)

    def wanted_pods(self, tier: str) -> int:
        """Return the tier's desired number of pods."""
        return int(self.get("hpa", tier)["status"].get("desiredReplicas", 0))

    @contextmanager
    def web(self) -> Iterator[str]:
        """Forward a port of this machine to web; yields the address."""
        port = free_port()
        command = [self.kubectl, "--namespace", NAMESPACE, "port-forward", "service/web"]
        forward = subprocess.Popen(
            [*command, f"{port}:{PORTS['web']}", f"--address={LOOPBACK}"], stdout=subprocess.DEVNULL
        )
        try:
            url = f"http://{LOOPBACK}:{port}"
            wait_until(lambda: answers(url), "web answers", 60)
            yield url
        finally:
            forward.kill()
            forward.wait()


def ready_of(pods: list[dict[str, Any]]) -> list[str]:
    """Return the names of the pods that are ready and not terminating."""
    return [
        pod["metadata"]["name"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
        and any(
            one["type"] == "Ready" and one["status"] == "True"
            for one in pod["status"].get("conditions", [])
        )
    ]


def answers(url: str) -> bool:
    """Return whether web is ready at a URL."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def find_cluster() -> Cluster | str:
    """Return the cluster of kubectl's context, or why it is not used."""
    # `make test` must not deploy anything.
    if "CLUSTER_TEST" not in os.environ:
        return "only `make cluster-test` uses one"
    own = ROOT / ".venv-k8s" / "bin" / "kubectl"
    kubectl = shutil.which("kubectl") or (str(own) if own.exists() else None)
    if kubectl is None:
        return "kubectl is not installed: run `make k8s-tools`"
    asked = subprocess.run(
        [kubectl, "version", "--request-timeout=10s"], capture_output=True, check=False
    )
    return Cluster(kubectl) if asked.returncode == 0 else "the cluster does not respond"


class Clock:
    """Durations, for the report at the end."""

    def __init__(self) -> None:
        """Begin without durations."""
        self.lines: list[str] = []

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Record the duration of the block."""
        started = time.monotonic()
        yield
        self.lines.append(f"{time.monotonic() - started:7.1f} s  {what}")
