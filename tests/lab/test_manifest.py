"""Reading autoscalers from manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.lab.autoscaler.manifest import read_tiers
from elastic_yolo.lab.autoscaler.spec import (
    SCALE_DOWN,
    SCALE_UP,
    Behavior,
    Metric,
    Policy,
    ScalingRules,
)
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.lab.processes.stack import ROOT

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: inference}
spec:
  template:
    spec:
      containers:
        - name: inference
          resources: {requests: {cpu: 250m}, limits: {cpu: "1.5"}}
"""
HPA = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: scaler}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: inference}
  maxReplicas: 7
"""
CPU = """
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: 55}}
"""


def write(folder: Path, *parts: str) -> Path:
    path = folder / "tier.yaml"
    path.write_text("---".join(parts))
    return path


def test_our_own_manifests_are_read() -> None:
    tiers = read_tiers(ROOT / "k8s" / "base")

    assert {name: tier.hpa.max_replicas for name, tier in tiers.items()} == {
        "web": 10,
        "preprocess": 10,
        "inference": 20,
    }
    assert {name: tier.request_milli for name, tier in tiers.items()} == {
        "web": 200,
        "preprocess": 500,
        "inference": 1000,
    }
    inference = tiers["inference"]
    assert (inference.limit_milli, inference.ready_period_s, inference.ready_failures) == (
        1000,
        2,
        2,
    )
    assert (inference.startup_s, tiers["web"].startup_s) == (150, 30)
    assert inference.hpa.metrics == (Metric("cpu", utilization=70),)
    assert inference.hpa.behavior == Behavior(
        ScalingRules((Policy("Percent", 100, 15), Policy("Pods", 2, 15)), window_s=0),
        ScalingRules((Policy("Percent", 50, 60),), window_s=120),
    )


def test_omitted_fields_have_the_apis_defaults(tmp_path: Path) -> None:
    hpa = read_tiers(write(tmp_path, DEPLOYMENT, HPA))["inference"].hpa

    assert (hpa.name, hpa.min_replicas, hpa.behavior) == ("scaler", 1, None)
    assert hpa.metrics == (Metric("cpu", utilization=80),)


def test_a_partial_behavior_has_defaults_for_the_rest(tmp_path: Path) -> None:
    behavior = "  behavior: {scaleUp: {tolerance: 50m, selectPolicy: Min}}\n"

    hpa = read_tiers(write(tmp_path, DEPLOYMENT, HPA + CPU + behavior))["inference"].hpa

    assert hpa.behavior == Behavior(ScalingRules(SCALE_UP.policies, "Min", 0, 0.05), SCALE_DOWN)


def test_absolute_targets_and_external_metrics_are_read(tmp_path: Path) -> None:
    metrics = """
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: AverageValue, averageValue: 300m}}
    - type: External
      external: {metric: {name: qps}, target: {type: Value, value: "30"}}
"""

    hpa = read_tiers(write(tmp_path, DEPLOYMENT, HPA + metrics))["inference"].hpa

    assert hpa.metrics == (Metric("cpu", average_milli=300), Metric("qps", "External"))


def test_without_a_request_the_limit_is_used(tmp_path: Path) -> None:
    deployment = DEPLOYMENT.replace("requests: {cpu: 250m}, ", "")

    tier = read_tiers(write(tmp_path, deployment, HPA))["inference"]

    assert (tier.request_milli, tier.limit_milli) == (1500, 1500)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([HPA], "scaler scales inference, but no manifest has that Deployment"),
        ([DEPLOYMENT], "no HorizontalPodAutoscaler found"),
        ([DEPLOYMENT, HPA, HPA], "a second HorizontalPodAutoscaler of inference"),
        (["a: [", HPA], "while parsing a flow"),
        ([DEPLOYMENT, HPA.replace("7", "0")], "spec.maxReplicas: Input should be greater"),
        ([DEPLOYMENT, HPA.replace("  maxReplicas: 7\n", "")], "spec.maxReplicas: Field required"),
        ([DEPLOYMENT, HPA + "  minReplicas: 8\n"], "maxReplicas is less than minReplicas"),
        ([DEPLOYMENT, HPA.replace("v2", "v1")], "apiVersion: Input should be 'autoscaling/v2'"),
        ([DEPLOYMENT, HPA + CPU.replace("55", "lots")], "averageUtilization: Input should be"),
        ([DEPLOYMENT, HPA + CPU.replace(", averageUtilization: 55", "")], "expected average"),
        ([DEPLOYMENT, HPA + "  metrics: [{type: Resource}]\n"], "Resource without resource"),
        ([DEPLOYMENT, HPA + "  behavior: {scaleUp: {selectPolicy: Most}}\n"], "selectPolicy"),
        ([DEPLOYMENT.replace('cpu: 250m}, limits: {cpu: "1.5"', ""), HPA], "no CPU request"),
        ([DEPLOYMENT.replace("250m", "fast"), HPA], "'fast' is not a quantity such as 500m"),
    ],
)  # fmt: skip
def test_an_invalid_manifest_is_one_line(tmp_path: Path, parts: list[str], words: str) -> None:
    path = write(tmp_path, *parts)

    with pytest.raises(ManifestError) as error:
        read_tiers(path)

    assert words in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="absent: no such file or folder"):
        read_tiers(tmp_path / "absent")
