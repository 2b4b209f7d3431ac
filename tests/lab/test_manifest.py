"""Reading autoscalers from manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

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

    assert hpa.metrics == (
        Metric("cpu", average_milli=300),
        Metric("qps", "External", value_milli=30_000),
    )


EXTERNAL = """
  metrics:
    - type: External
      external: {metric: {name: lag}, target: {type: AverageValue, averageValue: 100}}
"""
SIDECAR = """
        - name: logs
          resources: {requests: {cpu: 50m}}
"""
OF_CONTAINER = """
  metrics:
    - type: ContainerResource
      containerResource:
        {name: cpu, container: inference, target: {type: Utilization, averageUtilization: 55}}
"""


def test_a_container_resource_counts_one_container(tmp_path: Path) -> None:
    path = write(tmp_path, DEPLOYMENT + SIDECAR, HPA + OF_CONTAINER)

    tier = read_tiers(path)["inference"]

    assert tier.hpa.metrics == (
        Metric("cpu", "ContainerResource", utilization=55, container="inference"),
    )
    assert tier.hpa.metrics[0].key == "cpu/inference"
    assert tier.container == "inference"
    assert tier.requests == {"cpu": 300, "cpu/inference": 250, "cpu/logs": 50}
    assert (tier.request_milli, tier.unrequested) == (300, ())


def test_a_container_without_a_request_leaves_the_pod_without_one(tmp_path: Path) -> None:
    sidecar = SIDECAR.replace("requests: {cpu: 50m}", "")

    tier = read_tiers(write(tmp_path, DEPLOYMENT + sidecar, HPA))["inference"]

    assert (tier.pod_requests, tier.unrequested) == ({"cpu/inference": 250}, ("logs",))


def test_an_init_container_counts_if_it_is_a_sidecar(tmp_path: Path) -> None:
    initial = """
      initContainers:
        - {name: warm, resources: {requests: {cpu: 70m}}}
        - {name: proxy, restartPolicy: Always, resources: {requests: {cpu: 20m}}}
"""

    tier = read_tiers(write(tmp_path, DEPLOYMENT + initial, HPA))["inference"]

    assert tier.requests == {"cpu": 270, "cpu/inference": 250, "cpu/proxy": 20}


@pytest.mark.parametrize(
    ("resources", "of_pod", "limit"),
    [
        ('{requests: {cpu: 400m}, limits: {cpu: "1"}}', 400, 1000),
        ("{requests: {cpu: 400m}}", 400, 1500),
        ('{limits: {cpu: "2"}}', 250, 1500),
    ],
)
def test_the_request_of_the_whole_pod_replaces_its_containers(
    tmp_path: Path, resources: str, of_pod: int, limit: int
) -> None:
    deployment = f"{DEPLOYMENT}      resources: {resources}\n"

    tier = read_tiers(write(tmp_path, deployment, HPA))["inference"]

    assert tier.requests == {"cpu": of_pod, "cpu/inference": 250}
    assert (tier.request_milli, tier.limit_milli) == (of_pod, limit)


def test_the_limit_of_the_whole_pod_is_its_request_if_no_container_has_one(tmp_path: Path) -> None:
    bare = DEPLOYMENT.replace('{requests: {cpu: 250m}, limits: {cpu: "1.5"}}', "{}")
    deployment = f'{bare}      resources: {{limits: {{cpu: "2"}}}}\n'

    tier = read_tiers(write(tmp_path, deployment, HPA))["inference"]

    assert (tier.requests, tier.limit_milli, tier.unrequested) == ({"cpu": 2000}, 2000, ())


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
        ([DEPLOYMENT.replace("250m", "0"), HPA], "has a CPU request of 0, which"),
        ([DEPLOYMENT, HPA + CPU.replace("55", "0")], "averageUtilization: Input should be greater"),
        ([DEPLOYMENT, HPA.replace("apps/v1", "extensions/v1beta1")],
         "scaleTargetRef is Deployment of extensions/v1beta1"),
        ([DEPLOYMENT, HPA.replace("apiVersion: apps/v1, ", "")],
         "scaleTargetRef is Deployment of no apiVersion"),
        ([DEPLOYMENT, HPA.replace("Deployment, name", "StatefulSet, name")],
         "scaleTargetRef is StatefulSet of apps/v1"),
        ([DEPLOYMENT, HPA + OF_CONTAINER.replace(" container: inference,", "")],
         "a ContainerResource without container"),
        ([DEPLOYMENT, HPA + EXTERNAL.replace("averageValue: 100", "")],
         "lag: expected value or averageValue"),
        ([DEPLOYMENT, HPA + EXTERNAL.replace("100", "100, value: 5")],
         "lag: expected value or averageValue"),
        ([DEPLOYMENT, HPA + EXTERNAL.replace("100", "0")], "averageValue: Input should be greater"),
    ],
)  # fmt: skip
def test_an_invalid_manifest_is_one_line(tmp_path: Path, parts: list[str], words: str) -> None:
    path = write(tmp_path, *parts)

    with pytest.raises(ManifestError) as error:
        read_tiers(path)

    assert words in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_list_is_read_as_kubectl_prints_it(tmp_path: Path) -> None:
    """`kubectl get deployment,hpa -o yaml`, or `-o json`."""
    plain = write(tmp_path, DEPLOYMENT, HPA)
    objects = [yaml.safe_load(one) for one in (DEPLOYMENT, HPA)]
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    for name, text in (
        ("a.yaml", yaml.safe_dump(listed)),
        ("a.json", json.dumps(listed, indent="\t")),
    ):
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        (folder / name).write_text(text)
        assert read_tiers(folder) == read_tiers(plain)


def test_a_list_of_itself_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path, "kind: List\nitems: &all [{kind: List, items: *all}]\n")

    with pytest.raises(ManifestError, match=r"tier\.yaml: nested too deeply"):
        read_tiers(path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="absent: no such file or folder"):
        read_tiers(tmp_path / "absent")
