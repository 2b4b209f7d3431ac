"""Rules for HorizontalPodAutoscalers and KEDA's ScaledObjects."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import MAX_REPLICAS, MIN_REPLICAS, ManifestSet, scale_target
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.values import dig, mapping, mappings, text, whole
from elastic_yolo.doctor.workload import TEMPLATES, Container, Workload

_HPA = "HorizontalPodAutoscaler"
_KEDA = "ScaledObject"
_METRICS_API = "v1beta1.metrics.k8s.io"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def missing_resource_request(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA01: a utilization target needs a request on every container."""
    for hpa in manifests.of_kind(_HPA):
        target = _target(manifests, hpa)
        for resource, only in _utilisations(hpa) if target else ():
            for container in target.containers if target else ():
                wanted = only in ("", container.name)
                if wanted and not _has_request(manifests, container, resource):
                    yield error(
                        container.at("resources"),
                        f"The container {container.name} has no {resource} request, and "
                        f"HorizontalPodAutoscaler/{hpa.name} targets a percentage of it.",
                        f"One container without a {resource} request makes the whole metric "
                        "<unknown>: the HPA scales neither up nor down.",
                        f"Set resources.requests.{resource} on every container of the pod, "
                        "sidecars included.",
                    )


def target_not_found(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA02: the target does not exist."""
    for scaler in manifests.of_kind(_HPA, _KEDA):
        kind, name = scale_target(scaler)
        # An HPA can scale custom resources as well, which this program does not read.
        if kind in TEMPLATES and manifests.named(kind, scaler.namespace, name) is None:
            yield manifests.missing(
                scaler.namespace,
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} scales {kind}/{name}, which does not exist.",
                "It reports FailedGetScale and does not scale.",
                f"Correct spec.scaleTargetRef, or add {kind}/{name} in namespace "
                f"{scaler.namespace}.",
            )
        elif not kind or not name:
            yield error(
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} has no kind or no name in spec.scaleTargetRef.",
                "The API server rejects it, or it scales nothing.",
                "Set apiVersion, kind and name of the Deployment.",
            )


def two_autoscalers(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA03: two HPAs scale one target."""
    for target, scalers in _by_target(manifests):
        hpas = [one for one in scalers if one.kind == _HPA]
        for other in hpas[1:]:
            yield error(
                other.at("spec", "scaleTargetRef"),
                f"HorizontalPodAutoscaler/{hpas[0].name} also scales {target}.",
                "Both report AmbiguousSelector, and neither scales.",
                "Put all metrics into one of them; an HPA uses the largest result.",
            )


def keda_and_hpa(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA07: an HPA and a ScaledObject scale one target."""
    for target, scalers in _by_target(manifests):
        kinds = {one.kind: one for one in scalers}
        if _HPA in kinds and _KEDA in kinds:
            hpa, keda = kinds[_HPA], kinds[_KEDA]
            yield error(
                hpa.at("spec", "scaleTargetRef"),
                f"ScaledObject/{keda.name} also scales {target}.",
                "KEDA creates an HPA for each ScaledObject. With two HPAs, neither scales; KEDA's "
                "admission webhook rejects the second.",
                "Remove the HPA; if you need its CPU target, add a trigger of type cpu to the "
                "ScaledObject.",
            )


def min_above_max(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA04: the minimum is above the maximum."""
    for scaler, fewest, most in _limits(manifests):
        if fewest > most:
            yield error(
                scaler.at("spec", MIN_REPLICAS[scaler.kind]),
                f"{MIN_REPLICAS[scaler.kind]} is {fewest}, and {MAX_REPLICAS[scaler.kind]} is "
                f"{most}.",
                "The API server rejects it.",
                f"Lower {MIN_REPLICAS[scaler.kind]} or raise {MAX_REPLICAS[scaler.kind]}.",
            )


def min_equals_max(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA09: the minimum equals the maximum."""
    for scaler, fewest, most in _limits(manifests):
        if fewest == most:
            yield warning(
                scaler.at("spec", MAX_REPLICAS[scaler.kind]),
                f"{MIN_REPLICAS[scaler.kind]} and {MAX_REPLICAS[scaler.kind]} are both {most}.",
                "The number of pods never changes, whatever the load.",
                f"Raise {MAX_REPLICAS[scaler.kind]}, or set replicas and remove the autoscaler.",
            )


def replicas_beside_autoscaler(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA05: a manifest sets `replicas` of a workload that an autoscaler scales."""
    for workload in manifests.workloads:
        scalers = list(manifests.scalers_of(workload))
        if scalers and (stated := _stated_replicas(manifests, workload)) is not None:
            yield warning(
                workload.manifest.at("spec", "replicas"),
                f"The manifest sets replicas: {stated}, and {scalers[0].kind}/{scalers[0].name} "
                "sets the same field.",
                f"Every apply resets the Deployment to {stated} pods, even under full load, until "
                "the autoscaler's next sync.",
                "Remove replicas; the first pods are the autoscaler's minimum.",
            )


def no_metrics_server(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA06: metrics-server is missing or unavailable."""
    if not manifests.live or "apiservices" in manifests.unread:
        return
    affected = [hpa for hpa in manifests.of_kind(_HPA) if any(_resource_metrics(hpa))]
    api = next((one for one in manifests.of_kind("APIService") if one.name == _METRICS_API), None)
    states = [] if api is None else api.conditions("Available")
    if not affected or "True" in [text(one, "status") for one in states]:
        return
    reason = "; ".join(text(one, "message") for one in states)
    reported = f" ({reason})" if reason else ""
    yield error(
        affected[0].at() if api is None else api.at(),
        "metrics-server is not installed in this cluster."
        if api is None
        else f"metrics-server is installed but unavailable{reported}.",
        f"CPU and memory of all pods are <unknown> to {len(affected)} autoscaler"
        f"{'s' if len(affected) > 1 else ''}: nothing scales.",
        "minikube addons enable metrics-server; microk8s enable metrics-server; elsewhere apply "
        "components.yaml of a metrics-server release."
        if api is None
        else "kubectl -n kube-system logs deployment/metrics-server shows the cause.",
    )


def hpa_not_active(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA08: an HPA reports that it cannot scale."""
    for hpa in manifests.of_kind(_HPA) if manifests.live else ():
        for kind in ("AbleToScale", "ScalingActive"):
            for state in hpa.conditions(kind):
                # ScalingDisabled: replicas was set to 0, which turns the HPA off on purpose.
                if text(state, "status") != "False" or text(state, "reason") == "ScalingDisabled":
                    continue
                yield error(
                    hpa.at("status"),
                    f"The HPA does not scale: {text(state, 'reason')}: "
                    f"{text(state, 'message')}".rstrip(": ")
                    + ".",
                    "Its targets are <unknown>, and the number of pods does not change.",
                    _HELP.get(
                        text(state, "reason"), f"kubectl describe hpa {hpa.name} shows details."
                    ),
                )


_HELP = {
    "FailedGetResourceMetric": "Normal in the first minute of a pod. Otherwise set a request on "
    "every container, and check metrics-server with kubectl top pods.",
    "FailedGetScale": "Correct spec.scaleTargetRef: its target does not exist.",
    "AmbiguousSelector": "Keep a single autoscaler for these pods.",
    "FailedGetExternalMetric": "KEDA's operator or the metrics adapter is unavailable; read its "
    "log.",
}


def _target(manifests: ManifestSet, hpa: Manifest) -> Workload | None:
    kind, name = scale_target(hpa)
    found = manifests.named(kind, hpa.namespace, name)
    return None if found is None or kind not in TEMPLATES else Workload(found)


def _by_target(manifests: ManifestSet) -> Iterator[tuple[str, list[Manifest]]]:
    found = defaultdict(list)
    for one in manifests.of_kind(_HPA, _KEDA):
        kind, name = scale_target(one)
        # An HPA that KEDA created belongs to its ScaledObject.
        if name and _KEDA not in [owner for owner, _ in one.owners]:
            found[one.namespace, kind, name].append(one)
    for (_, kind, name), scalers in found.items():
        yield f"{kind}/{name}", scalers


def _limits(manifests: ManifestSet) -> Iterator[tuple[Manifest, int, int]]:
    for one in manifests.of_kind(_HPA, _KEDA):
        fewest, most = (whole(one.spec, names[one.kind]) for names in (MIN_REPLICAS, MAX_REPLICAS))
        # Defaults: an HPA has a minimum of 1; KEDA a minimum of 0 and a maximum of 100.
        if fewest is None:
            fewest = 1 if one.kind == _HPA else 0
        if most is None and one.kind == _KEDA:
            most = 100
        if most is not None:
            yield one, fewest, most


def _resource_metrics(hpa: Manifest) -> Iterator[dict[Any, Any]]:
    for _, metric in mappings(hpa.spec, "metrics"):
        if resource := mapping(metric, "resource") or mapping(metric, "containerResource"):
            yield resource
    if "targetCPUUtilizationPercentage" in hpa.spec:
        yield {"name": "cpu", "target": {"type": "Utilization"}}


def _utilisations(hpa: Manifest) -> Iterator[tuple[str, str]]:
    """Yield each resource with a utilization target, and its container ("" for all)."""
    for resource in _resource_metrics(hpa):
        target = mapping(resource, "target")
        if text(target, "type") == "Utilization" or "averageUtilization" in target:
            yield text(resource, "name"), text(resource, "container")
    # The default of autoscaling/v2 without metrics.
    if not hpa.spec.get("metrics") and not any(_resource_metrics(hpa)):
        yield "cpu", ""


def _has_request(manifests: ManifestSet, container: Container, resource: str) -> bool:
    if container.resource_request(resource) is not None:
        return True
    # A LimitRange of the namespace adds a default when the pod is created.
    return any(
        dig(entry, default, resource) is not None
        for one in manifests.of_kind("LimitRange")
        if one.namespace == container.manifest.namespace
        for _, entry in mappings(one.spec, "limits")
        if text(entry, "type") == "Container"
        for default in ("default", "defaultRequest")
    )


def _stated_replicas(manifests: ManifestSet, workload: Workload) -> int | None:
    if not manifests.live:
        return whole(workload.manifest.spec, "replicas")
    # In a cluster the field is always set. kubectl's annotation shows if a manifest set it.
    applied = text(mapping(workload.manifest.body, "metadata", "annotations"), _LAST_APPLIED)
    try:
        return whole(json.loads(applied), "spec", "replicas")
    except (ValueError, RecursionError):
        return None


RULES = (
    Rule("HPA01", missing_resource_request),
    Rule("HPA02", target_not_found),
    Rule("HPA03", two_autoscalers),
    Rule("HPA04", min_above_max),
    Rule("HPA05", replicas_beside_autoscaler),
    Rule("HPA06", no_metrics_server),
    Rule("HPA07", keda_and_hpa),
    Rule("HPA08", hpa_not_active),
    Rule("HPA09", min_equals_max),
)
