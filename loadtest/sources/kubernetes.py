"""Replicas from a cluster: `kubectl get hpa,deploy` every few seconds.

CPU is the value that the autoscaler used: the mean of the pods from metrics-server, about 15 s old.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from elastic_yolo.lab.processes.child import last_line
from elastic_yolo.lab.timeline import Sample
from elastic_yolo.quantity import parse_quantity
from elastic_yolo.tiers import TIERS
from loadtest.errors import LoadTestError
from loadtest.sources import only_between

_OWN = Path(__file__).resolve().parent.parent.parent / ".venv-k8s" / "bin" / "kubectl"
# An autoscaler decides every 15 s by default; pods become ready in between.
_EVERY_S = 3.0
_TIMEOUT_S = 15.0


class Cluster:
    """Runs kubectl in a thread, with its current context."""

    def __init__(self, namespace: str) -> None:
        """Find kubectl; raises LoadTestError if it is not installed."""
        self.name = f"kubectl, namespace {namespace}"
        found = shutil.which("kubectl") or (str(_OWN) if _OWN.exists() else None)
        if found is None:
            raise LoadTestError("kubectl is not installed: run `make k8s-tools`")
        self._command = [
            found, "--namespace", namespace, f"--request-timeout={_TIMEOUT_S:.0f}s",
            "get", "hpa,deploy", "--output", "json",
        ]  # fmt: skip
        self._samples: list[Sample] = []
        self._faults: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def begin(self) -> None:
        """Run kubectl once and start the thread; raises LoadTestError with kubectl's error."""
        if not self._sample_now():
            raise LoadTestError(f"{self.name}: no Deployment of {', '.join(TIERS)}")
        self._thread.start()

    def end(self, start_at: float, end_at: float) -> list[Sample]:
        """Stop the thread and return the samples of the run."""
        self._stop.set()
        self._thread.join(2 * _TIMEOUT_S)
        return only_between(self._samples, start_at, end_at)

    def notes(self) -> list[str]:
        """Return how often kubectl failed."""
        if not self._faults:
            return []
        return [f"kubectl failed {len(self._faults)} times, at last with: {self._faults[-1]}"]

    def _poll(self) -> None:
        while not self._stop.wait(_EVERY_S):
            try:
                self._sample_now()
            except LoadTestError as error:
                self._faults.append(str(error))

    def _sample_now(self) -> list[Sample]:
        try:
            done = subprocess.run(  # noqa: S603  # kubectl, with arguments of our own
                self._command, capture_output=True, text=True, check=False, timeout=2 * _TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise LoadTestError(f"kubectl did not end within {2 * _TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            why = last_line(done.stderr, f"ended with {done.returncode}")
            raise LoadTestError(f"kubectl: {why}")
        samples = parse_objects(json.loads(done.stdout), time.time())
        self._samples += samples
        return samples


def parse_objects(listed: Any, at: float) -> list[Sample]:
    """Return a sample for each tier that has a Deployment in `kubectl get hpa,deploy -o json`.

    Without an autoscaler, the desired replicas are the Deployment's, and there is no target.
    """
    items = listed["items"]
    deployments = {_name(item): item for item in items if item["kind"] == "Deployment"}
    scalers = {
        item["spec"]["scaleTargetRef"]["name"]: item
        for item in items
        if item["kind"] == "HorizontalPodAutoscaler"
        and item["spec"]["scaleTargetRef"]["kind"] == "Deployment"
    }
    return [
        _to_sample(tier, deployments[tier], scalers.get(tier), at)
        for tier in TIERS
        if tier in deployments
    ]


def _to_sample(tier: str, deployment: Any, scaler: Any, at: float) -> Sample:
    # The API omits zeros.
    status = deployment.get("status", {})
    replicas = status.get("replicas", 0)
    ready = status.get("readyReplicas", 0)
    if scaler is None:
        wanted = deployment["spec"].get("replicas", 1)
        return Sample(at, tier, replicas, ready, wanted, None, why="no autoscaler")
    target = _cpu(scaler["spec"].get("metrics", []), "target")
    current = _cpu(scaler.get("status", {}).get("currentMetrics") or [], "current")
    mean = current.get("averageValue")
    return Sample(
        at=at,
        tier=tier,
        replicas=replicas,
        ready=ready,
        desired=scaler.get("status", {}).get("desiredReplicas", 0),
        target_percent=target.get("averageUtilization"),
        cpu_percent=current.get("averageUtilization"),
        cpu_s=None if mean is None else float(parse_quantity(mean) * replicas),
        why=_reason(scaler),
    )


def _cpu(metrics: list[Any], part: str) -> dict[str, Any]:
    for metric in metrics:
        if metric.get("type") == "Resource" and metric["resource"]["name"] == "cpu":
            found: dict[str, Any] = metric["resource"].get(part, {})
            return found
    return {}


def _reason(scaler: Any) -> str:
    conditions = scaler.get("status", {}).get("conditions") or []
    said = {one["type"]: one for one in conditions}
    # A condition that limits scaling is more informative than AbleToScale.
    for kind, worth in (
        ("ScalingActive", "False"),
        ("AbleToScale", "False"),
        ("ScalingLimited", "True"),
    ):
        condition = said.get(kind, {})
        if condition.get("status") == worth:
            return str(condition.get("message", condition.get("reason", "")))
    return str(said.get("AbleToScale", {}).get("message", ""))


def _name(item: Any) -> str:
    return str(item["metadata"]["name"])
