"""Parsing kubectl's output about autoscalers and Deployments.

Without a cluster: the JSON has the shape of `kubectl get hpa,deploy -o json` with autoscaling/v2.
Errors of kubectl are tested with the real program.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, ROOT, free_port
from elastic_yolo.lab.timeline import Sample
from loadtest.errors import LoadTestError
from loadtest.sources.kubernetes import Cluster, parse_objects

AT = 1764190000.25


def deployment(name: str, *, wanted: int, **status: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "elastic-yolo", "generation": 2},
        "spec": {"replicas": wanted, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}},
        "status": {"observedGeneration": 2, "conditions": [], **status},
    }


def autoscaler(name: str, status: dict[str, Any], *, of: str | None = None) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": 70}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "elastic-yolo"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of or name},
            "minReplicas": 1,
            "maxReplicas": 20,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
        "status": status,
    }


def busy(percent: int, mean: str) -> list[dict[str, Any]]:
    current = {"averageUtilization": percent, "averageValue": mean}
    return [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]


def listed(*items: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "List",
        "metadata": {"resourceVersion": ""},
        "items": [*items],
    }


def condition(kind: str, status: str, message: str) -> dict[str, str]:
    return {
        "type": kind, "status": status, "reason": kind, "message": message,
        "lastTransitionTime": "2026-11-20T10:00:00Z",
    }  # fmt: skip


def test_a_tier_that_is_being_scaled_is_read_completely() -> None:
    limited = "the desired replica count is increasing faster than the maximum scale rate"
    status = {
        "currentReplicas": 2,
        "desiredReplicas": 3,
        "currentMetrics": busy(131, "1310m"),
        "conditions": [
            condition("AbleToScale", "True", "the HPA controller was able to update the scale"),
            condition("ScalingActive", "True", "the HPA was able to compute the replica count"),
            condition("ScalingLimited", "True", limited),
        ],
    }
    objects = listed(
        autoscaler("inference", status),
        deployment("inference", wanted=3, replicas=2, readyReplicas=1, updatedReplicas=2),
    )

    assert parse_objects(objects, AT) == [
        Sample(AT, "inference", 2, 1, 3, 70, cpu_percent=131, cpu_s=2.62, why=limited)
    ]


def test_before_the_first_metrics_cpu_is_unknown() -> None:
    unknown = "failed to get cpu utilization: unable to get metrics for resource cpu"
    status = {
        "currentReplicas": 1,
        "desiredReplicas": 0,
        "currentMetrics": None,
        "conditions": [
            condition(
                "AbleToScale", "True", "the HPA controller was able to get the target's scale"
            ),
            condition("ScalingActive", "False", unknown),
        ],
    }
    objects = listed(autoscaler("web", status), deployment("web", wanted=1, replicas=1))

    assert parse_objects(objects, AT) == [Sample(AT, "web", 1, 0, 0, 70, why=unknown)]


def test_a_tier_that_keda_scales_has_no_cpu_target() -> None:
    scaler = autoscaler("keda-hpa-inference", {"desiredReplicas": 4}, of="inference")
    scaler["spec"]["metrics"] = [
        {
            "type": "External",
            "external": {
                "metric": {"name": "s0-prometheus"},
                "target": {"type": "AverageValue", "averageValue": "2"},
            },
        }
    ]
    objects = listed(scaler, deployment("inference", wanted=4, replicas=4, readyReplicas=4))

    assert parse_objects(objects, AT) == [Sample(AT, "inference", 4, 4, 4, None)]


def test_without_an_autoscaler_the_deployment_sets_replicas() -> None:
    objects = listed(deployment("preprocess", wanted=2, replicas=2, readyReplicas=2))

    assert parse_objects(objects, AT) == [
        Sample(AT, "preprocess", 2, 2, 2, None, why="no autoscaler")
    ]


def test_other_deployments_are_ignored() -> None:
    objects = listed(
        deployment("inference-gpu", wanted=1, replicas=1),
        deployment("web", wanted=1, replicas=1, readyReplicas=1),
    )

    assert [sample.tier for sample in parse_objects(objects, AT)] == ["web"]


def test_errors_of_kubectl_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ROOT / ".venv-k8s" / "bin" / "kubectl"
    if not (shutil.which("kubectl") or own.exists()):
        pytest.skip("kubectl is not installed: run `make k8s-tools`; this is NOT tested")
    config = tmp_path / "config"
    server = f"http://{LOOPBACK}:{free_port()}"
    config.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, "
        f"clusters: [{{name: c, cluster: {{server: '{server}'}}}}], "
        "contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}]}"
    )
    monkeypatch.setenv("KUBECONFIG", str(config))

    with pytest.raises(LoadTestError, match=r"^kubectl: .*refused"):
        Cluster("elastic-yolo").begin()
