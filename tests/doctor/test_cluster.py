"""What is found in a live cluster; each object is as kubectl prints it, and no cluster is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.doctor.live import doctor, event, sound


def codes(*arguments: Any, **named: Any) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in doctor(*arguments, **named)]


def waiting(objects: dict[str, Any], pod: str, reason: str, message: str = "") -> dict[str, Any]:
    """Let the container of a pod wait, and return its status."""
    status = objects[pod]["status"]
    (container,) = status["containerStatuses"]
    container["state"] = {"waiting": {"reason": reason, "message": message}}
    status["conditions"][1]["status"] = "False"
    return dict(container)


def test_nothing_is_found_in_a_sound_cluster() -> None:
    assert doctor(sound()) == []


def test_a_pod_of_a_deployment_is_not_examined_a_second_time() -> None:
    objects = sound()
    for name in ("deployment", "replicaset", "pod1", "pod2"):
        spec = objects[name]["spec"]
        pod = spec if name.startswith("pod") else spec["template"]["spec"]
        pod["containers"][0]["resources"]["requests"].pop("cpu")

    assert codes(objects) == [("HPA01", "error")]


def test_metrics_server_is_missing() -> None:
    """HPA06."""
    objects = sound()
    del objects["metrics"]

    (found,) = doctor(objects)
    assert found.code == "HPA06"
    assert "minikube addons enable metrics-server" in found.fix


def test_metrics_server_does_not_answer() -> None:
    """HPA06."""
    objects = sound()
    objects["metrics"]["status"]["conditions"][0] |= {
        "status": "False",
        "message": "failing or missing response from https://10.0.0.7:4443",
    }

    (found,) = doctor(objects)
    assert found.code == "HPA06"
    assert "https://10.0.0.7:4443" in found.what


def test_nobody_needs_metrics_server_without_an_autoscaler() -> None:
    objects = sound()
    del objects["metrics"], objects["hpa"]

    assert doctor(objects) == []


def test_what_may_not_be_read_is_no_mistake_and_is_said() -> None:
    """CLU01."""
    objects = sound()
    del objects["metrics"], objects["secret"], objects["node"]

    assert codes(objects, unread=frozenset({"apiservices", "secrets", "nodes"})) == [
        ("CLU01", "warning")
    ]


def test_an_autoscaler_that_shows_unknown() -> None:
    """HPA08."""
    objects = sound()
    objects["hpa"]["status"]["conditions"][1] = {
        "type": "ScalingActive",
        "status": "False",
        "reason": "FailedGetResourceMetric",
        "message": "failed to get cpu utilization: missing request for cpu in container x",
    }

    (found,) = doctor(objects)
    assert found.code == "HPA08"
    assert "missing request for cpu in container x" in found.what
    assert "<unknown>" in found.why


def test_replicas_that_somebody_set_to_zero_are_meant_so() -> None:
    objects = sound()
    objects["hpa"]["status"]["conditions"][1] |= {"status": "False", "reason": "ScalingDisabled"}

    assert doctor(objects) == []


@pytest.mark.parametrize(("noted", "expected"), [({"replicas": 2}, ["HPA05"]), ({}, [])])
def test_replicas_are_at_war_only_if_a_manifest_stated_them(
    noted: dict[str, Any], expected: list[str]
) -> None:
    objects = sound()
    applied = json.dumps({"kind": "Deployment", "spec": noted})
    objects["deployment"]["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": applied
    }

    assert [one.code for one in doctor(objects)] == expected


def test_the_autoscaler_that_keda_makes_is_no_second_one() -> None:
    objects = sound()
    objects["hpa"]["metadata"] |= {
        "name": "keda-hpa-front",
        "ownerReferences": [{"kind": "ScaledObject", "name": "front"}],
    }
    objects["keda"] = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"namespace": "shop", "name": "front"},
        "spec": {"scaleTargetRef": {"name": "front"}, "minReplicaCount": 2},
    }

    assert doctor(objects) == []


def test_a_secret_that_the_cluster_has_not() -> None:
    """CFG01."""
    objects = sound()
    del objects["secret"]

    assert codes(objects) == [("CFG01", "error")]


def test_a_gpu_that_no_node_has() -> None:
    """GPU01."""
    objects = sound()
    pod = objects["deployment"]["spec"]["template"]["spec"]
    pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "1"
    pod["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert codes(objects) == [("GPU01", "error")]

    objects["node"]["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    assert doctor(objects) == []


@pytest.mark.parametrize(("cpu", "expected"), [("4", []), ("4001m", [("RES03", "error")])])
def test_a_request_larger_than_any_node(cpu: str, expected: list[tuple[str, str]]) -> None:
    objects = sound()
    pod = objects["deployment"]["spec"]["template"]["spec"]
    pod["containers"][0]["resources"]["requests"]["cpu"] = cpu

    assert codes(objects) == expected


def test_a_volume_for_one_node_and_pods_on_several() -> None:
    """PVC02: on one node that works, on two it is an error."""
    objects = sound()
    volume = {"name": "shelf", "persistentVolumeClaim": {"claimName": "shelf"}}
    objects["deployment"]["spec"]["template"]["spec"]["volumes"] = [volume]
    assert codes(objects) == [("PVC02", "warning")]

    objects["node2"] = objects["node"] | {"metadata": {"name": "minikube-m02"}}
    assert codes(objects) == [("PVC02", "error")]


def test_a_pod_that_no_node_takes() -> None:
    """POD01: all pods of one owner are one finding."""
    objects = sound()
    said = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available"
    for pod in ("pod1", "pod2"):
        objects[pod]["status"] = {
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": said,
                }
            ],
        }

    (found,) = doctor(objects)
    assert found.code == "POD01"
    assert said in found.what
    assert "1 more" in found.what
    assert "Request less CPU" in found.fix


def test_a_pod_whose_volume_does_not_come() -> None:
    """POD01: the reason is in the events alone."""
    objects = sound()
    objects["pod1"]["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [
            {"name": "front", "state": {"waiting": {"reason": "ContainerCreating"}}}
        ],
    }
    old = event("Pod", "front-5d8f-1", "FailedMount", "an older message", "09:00:00")
    new = event("Pod", "front-5d8f-1", "FailedAttachVolume", "Multi-Attach error for volume x")
    other = event("Pod", "front-5d8f-2", "FailedMount", "not about this one", "11:00:00")

    assert doctor(sound() | {"pod1": objects["pod1"]}) == []
    (found,) = doctor(objects, old, new, other)
    assert found.code == "POD01"
    assert "Multi-Attach error" in found.what
    assert "ReadWriteOnce" in found.fix


def test_an_image_that_does_not_come() -> None:
    """POD02."""
    objects = sound()
    waiting(objects, "pod1", "ImagePullBackOff", 'Back-off pulling image "front:v1"')
    why = event("Pod", "front-5d8f-1", "Failed", 'Failed to pull image "front:v1": not found')

    (found,) = doctor(objects, why)
    assert found.code == "POD02"
    assert "not found" in found.what


def test_a_container_that_ends_again_and_again() -> None:
    """POD03."""
    objects = sound()
    waiting(objects, "pod1", "CrashLoopBackOff")
    objects["pod1"]["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 2, "reason": "Error", "message": "PORT: not a number\n"}
    }

    (found,) = doctor(objects)
    assert found.code == "POD03"
    assert "ends with 2 (a wrong setting or wrong usage): PORT: not a number" in found.what
    assert "logs front-5d8f-1 --previous -c front" in found.fix


@pytest.mark.parametrize("state", ["CrashLoopBackOff", None])
def test_a_container_that_took_too_much_memory(state: str | None) -> None:
    """POD04, and not POD03 as well."""
    objects = sound()
    if state:
        waiting(objects, "pod1", state)
    objects["pod1"]["status"]["containerStatuses"][0]["lastState"] = {
        "terminated": {"exitCode": 137, "reason": "OOMKilled"}
    }

    (found,) = doctor(objects)
    assert found.code == "POD04"
    assert "its limit of 512Mi" in found.what


def test_a_container_that_cannot_be_made() -> None:
    """POD05."""
    objects = sound()
    waiting(objects, "pod1", "CreateContainerConfigError", 'secret "access" not found')
    objects["pod1"]["status"]["phase"] = "Pending"

    (found,) = doctor(objects)
    assert found.code == "POD05"
    assert 'secret "access" not found' in found.what


def test_a_pod_that_runs_and_fails_its_probe() -> None:
    """POD06: without an event it has only just been started."""
    objects = sound()
    objects["pod1"]["status"]["conditions"][1]["status"] = "False"
    why = event("Pod", "front-5d8f-1", "Unhealthy", "Readiness probe failed: statuscode: 503")

    assert doctor(objects) == []
    assert codes(objects, why) == [("POD06", "warning")]


def test_a_rollout_that_does_not_go_on() -> None:
    """DEP03."""
    objects = sound()
    objects["deployment"]["status"]["conditions"] = [
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": 'pods "x" is forbidden: violates PodSecurity "restricted:latest"',
        }
    ]

    (found,) = doctor(objects)
    assert found.code == "DEP03"
    assert "violates PodSecurity" in found.what


@pytest.mark.parametrize("with_class", [True, False])
def test_a_claim_that_gets_no_volume(*, with_class: bool) -> None:
    """PVC03."""
    objects = sound()
    objects["claim"]["status"]["phase"] = "Pending"
    del objects["claim"]["spec"]["volumeName"]
    if not with_class:
        del objects["claim"]["spec"]["storageClassName"]
        assert codes(objects) == [("PVC03", "error")]
        return
    # It waits for its first pod, as most classes have it.
    assert doctor(objects) == []
    failed = event("PersistentVolumeClaim", "shelf", "ProvisioningFailed", "no such class: fast")
    assert codes(objects, failed) == [("PVC03", "error")]
