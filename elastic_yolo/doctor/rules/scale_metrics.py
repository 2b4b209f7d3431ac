"""Rules for what autoscalers measure: requests, containers, and who else changes them.

Source: kubernetes/kubernetes, pkg/controller/podautoscaler/replica_calculator.go
(calculateRequests) and metrics/utilization.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.scalers import (
    KEDA,
    ResourceMetric,
    active_scalers,
    resource_metrics,
    target_of,
)
from elastic_yolo.doctor.values import mapping, mappings, strings, text
from elastic_yolo.doctor.workload import Container, Workload

# Sidecars that an admission webhook adds to the pods; no manifest has them.
_INJECTED = ("istio-proxy", "linkerd-proxy", "daprd", "vault-agent", "consul-dataplane")
# They leave running pods alone. Source: kubernetes/autoscaler, VerticalPodAutoscaler, UpdateMode.
_HARMLESS_MODES = ("Off", "Initial")


def missing_resource_request(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA01: a utilization target needs a request above 0 on every container, or of the pod."""
    for scaler in active_scalers(manifests):
        target = target_of(manifests, scaler)
        for metric in resource_metrics(scaler) if target else ():
            if target and metric.is_percentage and target.containers:
                yield from _faults(manifests, scaler, target, metric)


def container_not_found(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA11: a ContainerResource of a container that the pods do not have."""
    for scaler in active_scalers(manifests):
        target = target_of(manifests, scaler)
        for metric in resource_metrics(scaler):
            if target is None or metric.container is None or not target.containers:
                continue
            there = [one.name for one in target.containers]
            if metric.container in (*there, *_INJECTED):
                continue
            initial = metric.container in [one.name for one in target.all_containers]
            yield error(
                scaler.at(*metric.path),
                f"{scaler.kind}/{scaler.name} measures the container {metric.container!r}, which "
                + ("is an init container and has ended" if initial else "does not exist")
                + f"; the pods of {target.name} have {', '.join(there)}.",
                "The metric is <unknown> (FailedGetContainerResourceMetric): it adds no pod, and "
                "while it is missing none is removed.",
                f"Set the name to one of: {', '.join(there)}.",
            )


def vertical_autoscaler(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA12: a VerticalPodAutoscaler changes the request by which an HPA divides.

    Source: kubernetes/autoscaler, vertical-pod-autoscaler, "Known limitations".
    """
    for vertical in manifests.of_kind("VerticalPodAutoscaler"):
        reference = mapping(vertical.spec, "targetRef")
        changed = _changed_by(vertical)
        for scaler in active_scalers(manifests):
            target = mapping(scaler.spec, "scaleTargetRef")
            kind = text(target, "kind") or ("Deployment" if scaler.kind == KEDA else "")
            same = (kind, target.get("name")) == (reference.get("kind"), reference.get("name"))
            shared = {one.resource for one in resource_metrics(scaler) if one.is_percentage}
            if same and scaler.namespace == vertical.namespace and (both := shared & changed):
                resources = " and ".join(sorted(both))
                yield warning(
                    vertical.at("spec", "targetRef"),
                    f"VerticalPodAutoscaler/{vertical.name} changes the {resources} requests of "
                    f"{kind}/{reference.get('name')}, and {scaler.kind}/{scaler.name} scales by a "
                    "percentage of them.",
                    "Each change of a request changes the percentage: the two work against each "
                    "other, and the number of pods swings.",
                    "Set updateMode: Off, limit controlledResources to another resource, or scale "
                    "by another metric.",
                )


def _faults(
    manifests: ManifestSet, scaler: Manifest, target: Workload, metric: ResourceMetric
) -> Iterator[Finding]:
    resource = metric.resource
    used = [one for one in target.containers if metric.container in (None, one.name)]
    requests = {one: manifests.container_request(one, resource) for one in used}
    if metric.container is None and target.has_pod_resources:
        divisor = manifests.divisor(target, resource)
        if not divisor:
            stated = "no" if divisor is None else "a zero"
            yield error(
                target.at("resources"),
                f"The pod has {stated} {resource} request, and {_which(scaler)}.",
                _UNKNOWN.format(resource=resource),
                f"Set resources.requests.{resource} of the pod.",
            )
        return
    missing = [one for one, request in requests.items() if request is None]
    for container in missing:
        yield _missing(scaler, container, metric)
    zero = [one for one, request in requests.items() if request == 0]
    if zero and len(zero) == len(used):
        yield error(
            zero[0].at("resources", "requests", resource),
            f"The {resource} request of {' and '.join(one.name for one in zero)} is 0, and "
            f"{_which(scaler)}.",
            f"Nothing can be divided by 0: the {resource} utilization is <unknown>, and the "
            "autoscaler scales neither up nor down.",
            f"Set resources.requests.{resource} to what the container usually needs.",
        )
    elif not missing:
        for container in zero:
            yield warning(
                container.at("resources", "requests", resource),
                f"The {resource} request of the container {container.name} is 0, and "
                f"{_which(scaler)}.",
                "Its usage counts, and is divided by the requests of the other containers: the "
                "percentage is too high, and there are too many pods.",
                f"Set resources.requests.{resource} to what the container usually needs.",
            )


_UNKNOWN = (
    "Without a {resource} request above 0 the metric is <unknown>: the autoscaler scales neither "
    "up nor down."
)


def _missing(scaler: Manifest, container: Container, metric: ResourceMetric) -> Finding:
    resource = metric.resource
    only = metric.container is not None
    return error(
        container.at("resources"),
        f"The container {container.name} has no {resource} request, and {_which(scaler)}.",
        "A ContainerResource needs the request of its container, not that of the pod: the metric "
        "is <unknown>, and the autoscaler scales neither up nor down."
        if only
        else f"One container without a {resource} request makes the whole metric <unknown>: the "
        "HPA scales neither up nor down.",
        f"Set resources.requests.{resource} on "
        + ("this container." if only else "every container of the pod, sidecars included."),
    )


def _which(scaler: Manifest) -> str:
    return f"{scaler.kind}/{scaler.name} targets a percentage of it"


def _changed_by(vertical: Manifest) -> set[str]:
    """Return the resources whose requests a VerticalPodAutoscaler changes in running pods."""
    mode = text(vertical.spec, "updatePolicy", "updateMode") or "Auto"
    if mode in _HARMLESS_MODES:
        return set()
    policies = [one for _, one in mappings(vertical.spec, "resourcePolicy", "containerPolicies")]
    found: set[str] = set()
    for policy in policies or [{}]:
        if text(policy, "mode") != "Off":
            stated = policy.get("controlledResources")
            found |= {"cpu", "memory"} if stated is None else set(strings(stated))
    return found


RULES = (
    Rule("HPA01", missing_resource_request),
    Rule("HPA11", container_not_found),
    Rule("HPA12", vertical_autoscaler),
)
