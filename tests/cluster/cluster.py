"""A cluster for the tests: kubectl, and parsers of its output."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from elastic_yolo.doctor.sources import find_kubectl
from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.tiers import PORTS, TIERS
from tests.support.waiting import wait_until

NAMESPACE = "elastic-yolo"
OVERLAY = os.environ.get("OVERLAY", "minikube")
FOLDER = ROOT / "k8s" / "overlays" / OVERLAY
TIMEOUT_S = 600.0
EXAMPLE = '"provision", "rollback", "yolov3-tiny", "--store=/models", "--wait=600"'
"""The arguments of the job in docs/model-versions.md."""


@dataclass(frozen=True)
class Cluster:
    """The namespace of one deployment; `kubectl` is the command that reaches it."""

    kubectl: tuple[str, ...]

    def run(self, *arguments: str, stdin: str | None = None, namespace: str = NAMESPACE) -> str:
        """Run a command in the namespace and return what it printed."""
        done = subprocess.run(
            [*self.kubectl, "--namespace", namespace, *arguments],
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
        # A job cannot be changed, and this one is there for five minutes after its end.
        self.run("delete", "job", "models-first", "--ignore-not-found")
        self.run("apply", "--kustomize", str(FOLDER))
        self.run("wait", "--for=condition=complete", "job/models-first", "--timeout=600s")
        for tier in reversed(TIERS):
            self.run("rollout", "status", f"deployment/{tier}", "--timeout=300s")

    def provision(self, *arguments: str) -> str:
        """Run `elastic-yolo provision` with these arguments in a job; returns its log.

        With the commands of docs/model-versions.md, whose example is a rollback.
        """
        # Jobs keep their names for five minutes.
        job = f"models-{arguments[0]}-{time.time_ns():x}"
        script = job_commands().replace("models-rollback", job)
        script = script.replace(EXAMPLE, json.dumps(["provision", *arguments])[1:-1])
        function = f'kubectl() {{ command {shlex.join(self.kubectl)} "$@"; }}'
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", f"{function}\n{script}"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        return done.stdout.partition("condition met\n")[2]

    def pull(self) -> str:
        """Run the CronJob's job once, until its end; returns its log."""
        job = f"models-{time.time_ns():x}"
        self.run("create", "job", "--from=cronjob/models", job)
        self.run("wait", "--for=jsonpath={.status.conditions}", f"job/{job}", "--timeout=600s")
        return self.run("logs", f"job/{job}")

    def kill(self, tier: str) -> None:
        """SIGKILL process 1 of the container of a tier's only ready pod, as the kernel would.

        Returns when it is dead.
        """
        (name,) = self.ready_pods(tier)
        pod = self.get("pod", name)
        (status,) = pod["status"]["containerStatuses"]
        job = self.get("cronjob", "models")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        container = status["containerID"].partition("://")[2]
        killer = killer_pod(pod["spec"]["nodeName"], job["containers"][0]["image"], container)
        with self._namespace_of_killers() as namespace:
            self.run("create", "--filename=-", stdin=json.dumps(killer), namespace=namespace)
            ended = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
            self.run("wait", ended, "pod/killer", "--timeout=120s", namespace=namespace)
            log = self.run("logs", "killer", namespace=namespace)
            # The phase of the pod follows only later.
            code = "{.status.containerStatuses[0].state.terminated.exitCode}"
            status = self.run(
                "get", "pod", "killer", f"--output=jsonpath={code}", namespace=namespace
            )
        assert status == "0", log

    @contextmanager
    def _namespace_of_killers(self) -> Iterator[str]:
        """Make a namespace that permits privileged pods, which the deployment's does not."""
        name = f"{NAMESPACE}-test-{time.time_ns():x}"
        labels = {"pod-security.kubernetes.io/enforce": "privileged"}
        metadata = {"name": name, "labels": labels}
        stated = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        self.run("create", "--filename=-", stdin=json.dumps(stated), namespace=name)
        try:
            yield name
        finally:
            self.run("delete", "namespace", name, "--wait=false")

    @contextmanager
    def one_pod_of(self, tier: str) -> Iterator[None]:
        """Keep the autoscaler of a tier at one pod until the block ends."""
        stated = self.get("hpa", tier)["spec"]
        before = {key: stated[key] for key in ("minReplicas", "maxReplicas")}
        self._scale_between(tier, {"minReplicas": 1, "maxReplicas": 1})
        try:
            wait_until(lambda: len(self.pods(tier)) == 1, f"one pod of {tier}", TIMEOUT_S)
            wait_until(lambda: len(self.ready_pods(tier)) == 1, f"{tier} is ready", TIMEOUT_S)
            yield
        finally:
            self._scale_between(tier, before)

    def _scale_between(self, tier: str, bounds: dict[str, int]) -> None:
        self.run("patch", "hpa", tier, "--patch", json.dumps({"spec": bounds}))

    def restarts(self, tier: str) -> int:
        """Return how often containers of a tier's pods have been restarted."""
        return sum(
            status["restartCount"]
            for pod in self.pods(tier)
            for status in pod["status"].get("containerStatuses", [])
        )

    def pods(self, tier: str) -> list[dict[str, Any]]:
        """Return a tier's pods, with those that are terminating."""
        selector = f"app.kubernetes.io/name={tier}"
        found: list[dict[str, Any]] = self.get("pods", "--selector", selector)["items"]
        return found

    def ready_pods(self, tier: str) -> list[str]:
        """Return the names of a tier's ready pods."""
        return ready_of(self.pods(tier))

    def wanted_pods(self, tier: str) -> int:
        """Return the tier's desired number of pods."""
        return int(self.get("hpa", tier)["status"].get("desiredReplicas", 0))

    @contextmanager
    def web(self) -> Iterator[str]:
        """Forward a port of this machine to web; yields the address."""
        port = free_port()
        command = [*self.kubectl, "--namespace", NAMESPACE, "port-forward", "service/web"]
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


def job_commands() -> str:
    """Return the commands of docs/model-versions.md that run `provision` in the cluster."""
    page = (ROOT / "docs" / "model-versions.md").read_text(encoding="utf-8")
    lines = [line[4:] for line in page.splitlines() if line.startswith("    ")]
    (first,) = (number for number, line in enumerate(lines) if "models-rollback --dry-run" in line)
    last = lines.index("kubectl -n elastic-yolo logs job/models-rollback")
    return "\n".join(lines[first : last + 1])


def killer_pod(node: str, image: str, container: str) -> dict[str, Any]:
    """Return a pod on `node` that sends SIGKILL to process 1 of a container."""
    source = (ROOT / "tests" / "cluster" / "kill.py").read_text(encoding="utf-8")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "killer"},
        "spec": {
            "nodeName": node,
            "hostPID": True,
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "killer",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-c", source, container],
                    "securityContext": {"privileged": True, "runAsUser": 0},
                }
            ],
        },
    }


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
    kubectl = find_kubectl()
    if kubectl is None:
        return "kubectl is not installed: run `make k8s-tools`"
    asked = subprocess.run(
        [*kubectl, "version", "--request-timeout=10s"], capture_output=True, check=False
    )
    return Cluster(tuple(kubectl)) if asked.returncode == 0 else "the cluster does not respond"


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
