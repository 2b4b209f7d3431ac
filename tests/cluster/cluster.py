"""A cluster as the tests use it: kubectl, and what it says."""

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
from tests.support.waiting import wait_until

NAMESPACE = "elastic-yolo"
OVERLAY = os.environ.get("OVERLAY", "minikube")
PATIENCE_S = 600.0


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
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get` says."""
        return json.loads(self.run("get", *arguments, "--output", "json"))

    def apply(self) -> None:
        """Bring the overlay up, and wait for the models and for every tier."""
        self.run("apply", "--kustomize", str(ROOT / "k8s" / "overlays" / OVERLAY))
        self.run("wait", "--for=condition=complete", "job/models-first", "--timeout=600s")
        for tier in ("inference", "preprocess", "web"):
            self.run("rollout", "status", f"deployment/{tier}", "--timeout=300s")

    def ready_pods(self, tier: str) -> list[str]:
        """Return the names of a tier's pods that take requests."""
        pods = self.get("pods", "--selector", f"app.kubernetes.io/name={tier}")["items"]
        return ready_of(pods)

    def wanted_pods(self, tier: str) -> int:
        """Return how many pods the tier's autoscaler wants."""
        return int(self.get("hpa", tier)["status"].get("desiredReplicas", 0))

    @contextmanager
    def web(self) -> Iterator[str]:
        """Forward a port of this machine to web; yields the address."""
        port = free_port()
        command = [self.kubectl, "--namespace", NAMESPACE, "port-forward", "service/web"]
        forward = subprocess.Popen(
            [*command, f"{port}:5000", f"--address={LOOPBACK}"], stdout=subprocess.DEVNULL
        )
        try:
            url = f"http://{LOOPBACK}:{port}"
            wait_until(lambda: answers(url), "web answers", 60)
            yield url
        finally:
            forward.kill()
            forward.wait()


def ready_of(pods: list[dict[str, Any]]) -> list[str]:
    """Return the names of the pods that are ready and not about to go."""
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
    """Tell whether web is ready at an address."""
    try:
        return httpx.get(f"{url}/readyz", timeout=5).is_success
    except httpx.HTTPError:
        return False


def find_cluster() -> Cluster | str:
    """Return the cluster that kubectl is set up for, or why it is not to be used."""
    # Nobody expects `make test` to deploy something.
    if "CLUSTER_TEST" not in os.environ:
        return "only `make cluster-test` uses one"
    own = ROOT / ".venv-k8s" / "bin" / "kubectl"
    kubectl = shutil.which("kubectl") or (str(own) if own.exists() else None)
    if kubectl is None:
        return "kubectl is not installed: `make k8s-tools` does"
    asked = subprocess.run(
        [kubectl, "version", "--request-timeout=10s"], capture_output=True, check=False
    )
    return Cluster(kubectl) if asked.returncode == 0 else "the cluster does not answer"


class Clock:
    """How long things took, for the report at the end."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.lines: list[str] = []

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Note how long the block took."""
        started = time.monotonic()
        yield
        self.lines.append(f"{time.monotonic() - started:7.1f} s  {what}")
