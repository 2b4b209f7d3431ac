"""HorizontalPodAutoscalers and KEDA's ScaledObjects: can they compute, and whom do they fight."""

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


def without_request(manifests: ManifestSet) -> Iterator[Finding]:
    """A share of a request can be computed only where there is a request."""
    for hpa in manifests.of_kind(_HPA):
        target = _target(manifests, hpa)
        for resource, only in _utilisations(hpa) if target else ():
            for container in target.containers if target else ():
                wanted = only in ("", container.name)
                if wanted and not _has_request(manifests, container, resource):
                    yield error(
                        container.at("resources"),
                        f"The container {container.name} requests no {resource}, and "
                        f"HorizontalPodAutoscaler/{hpa.name} scales on a share of that request.",
                        "One container without a request makes the whole metric <unknown>: "
                        "nothing scales, neither up nor down.",
                        f"Set resources.requests.{resource} on every container of the pod, "
                        "sidecars included.",
                    )


def target_missing(manifests: ManifestSet) -> Iterator[Finding]:
    """What is scaled is not there."""
    for scaler in manifests.of_kind(_HPA, _KEDA):
        kind, name = scale_target(scaler)
        # Other kinds can be scaled as well; whether they are there is not known here.
        if kind in TEMPLATES and manifests.named(kind, scaler.namespace, name) is None:
            yield manifests.missing(
                scaler.namespace,
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} scales {kind}/{name}, which is not there.",
                "It reports FailedGetScale and does nothing.",
                f"Correct spec.scaleTargetRef, or add {kind}/{name} in namespace "
                f"{scaler.namespace}.",
            )
        elif not kind or not name:
            yield error(
                scaler.at("spec", "scaleTargetRef"),
                f"{scaler.kind}/{scaler.name} does not say what it scales.",
                "Without kind and name in spec.scaleTargetRef it is refused, or does nothing.",
                "State apiVersion, kind and name of the Deployment.",
            )


def two_autoscalers(manifests: ManifestSet) -> Iterator[Finding]:
    """Two HPAs of one target."""
    for target, scalers in _by_target(manifests):
        hpas = [one for one in scalers if one.kind == _HPA]
        for other in hpas[1:]:
            yield error(
                other.at("spec", "scaleTargetRef"),
                f"HorizontalPodAutoscaler/{hpas[0].name} scales {target} as well.",
                "Both report AmbiguousSelector, and neither scales.",
                "Put all metrics into one of them; it takes the largest answer.",
            )


def keda_beside_an_hpa(manifests: ManifestSet) -> Iterator[Finding]:
    """KEDA makes an HPA of its own for each ScaledObject."""
    for target, scalers in _by_target(manifests):
        kinds = {one.kind: one for one in scalers}
        if _HPA in kinds and _KEDA in kinds:
            hpa, keda = kinds[_HPA], kinds[_KEDA]
            yield error(
                hpa.at("spec", "scaleTargetRef"),
                f"ScaledObject/{keda.name} scales {target} as well.",
                "KEDA makes an HPA of its own for it: two of them, and neither scales. KEDA's "
                "admission webhook refuses the second.",
                "Remove the HPA, and give the ScaledObject a trigger of type cpu if it is needed.",
            )


def limits_crossed(manifests: ManifestSet) -> Iterator[Finding]:
    """More pods at least than at most."""
    for scaler, fewest, most in _limits(manifests):
        if fewest > most:
            yield error(
                scaler.at("spec", MIN_REPLICAS[scaler.kind]),
                f"At least {fewest} pods, at most {most}.",
                "The API server refuses it.",
                f"Let {MIN_REPLICAS[scaler.kind]} be no more than {MAX_REPLICAS[scaler.kind]}.",
            )


def nothing_to_scale(manifests: ManifestSet) -> Iterator[Finding]:
    """As many pods at least as at most."""
    for scaler, fewest, most in _limits(manifests):
        if fewest == most:
            yield warning(
                scaler.at("spec", MAX_REPLICAS[scaler.kind]),
                f"At least {fewest} pods and at most {most}: it can never change the number.",
                "Whatever the load, nothing scales.",
                f"Raise {MAX_REPLICAS[scaler.kind]}, or state replicas and do without an autoscaler.",
            )


def replicas_at_war(manifests: ManifestSet) -> Iterator[Finding]:
    """A number in the manifest, and an autoscaler that sets the same field."""
    for workload in manifests.workloads:
        scalers = list(manifests.scalers_of(workload))
        if scalers and (stated := _stated_replicas(manifests, workload)) is not None:
            yield warning(
                workload.manifest.at("spec", "replicas"),
                f"replicas: {stated} is stated, and {scalers[0].kind}/{scalers[0].name} sets the "
                "same field.",
                f"Every apply goes back to {stated} pods, under full load as well, until the "
                "autoscaler has noticed.",
                "Remove replicas; the autoscaler's minimum says how many there are at first.",
            )


def no_metrics_server(manifests: ManifestSet) -> Iterator[Finding]:
    """Who tells autoscalers how much CPU pods use."""
    if not manifests.live or "apiservices" in manifests.unread:
        return
    asking = [hpa for hpa in manifests.of_kind(_HPA) if any(_resource_metrics(hpa))]
    api = next((one for one in manifests.of_kind("APIService") if one.name == _METRICS_API), None)
    states = [] if api is None else api.conditions("Available")
    if not asking or "True" in [text(one, "status") for one in states]:
        return
    reason = "; ".join(text(one, "message") for one in states)
    said = f" ({reason})" if reason else ""
    yield error(
        asking[0].at() if api is None else api.at(),
        "metrics-server is not installed in this cluster."
        if api is None
        else f"metrics-server is installed and does not answer{said}.",
        f"CPU and memory of all pods are <unknown> to {len(asking)} autoscaler"
        f"{'s' if len(asking) > 1 else ''}: nothing scales.",
        "minikube addons enable metrics-server; microk8s enable metrics-server; elsewhere apply "
        "components.yaml of its releases."
        if api is None
        else "kubectl -n kube-system logs deployment/metrics-server says why.",
    )


def cannot_compute(manifests: ManifestSet) -> Iterator[Finding]:
    """What an autoscaler of a cluster says about itself."""
    for hpa in manifests.of_kind(_HPA) if manifests.live else ():
        for kind in ("AbleToScale", "ScalingActive"):
            for state in hpa.conditions(kind):
                # ScalingDisabled: somebody has set replicas to 0, which is meant so.
                if text(state, "status") != "False" or text(state, "reason") == "ScalingDisabled":
                    continue
                yield error(
                    hpa.at("status"),
                    f"The autoscaler does not scale: {text(state, 'reason')}: "
                    f"{text(state, 'message')}".rstrip(": ")
                    + ".",
                    "Its targets show as <unknown>, and the number of pods stays what it is.",
                    _HELP.get(text(state, "reason"), f"kubectl describe hpa {hpa.name} says more."),
                )


_HELP = {
    "FailedGetResourceMetric": "Within a minute of a start this passes. Otherwise every container "
    "needs a request, and the cluster metrics-server: kubectl top pods has to answer.",
    "FailedGetScale": "Correct spec.scaleTargetRef: what it names is not there.",
    "AmbiguousSelector": "Keep one autoscaler for these pods.",
    "FailedGetExternalMetric": "KEDA's operator or the metrics adapter does not answer; its log "
    "says why.",
}


def _target(manifests: ManifestSet, hpa: Manifest) -> Workload | None:
    kind, name = scale_target(hpa)
    found = manifests.named(kind, hpa.namespace, name)
    return None if found is None or kind not in TEMPLATES else Workload(found)


def _by_target(manifests: ManifestSet) -> Iterator[tuple[str, list[Manifest]]]:
    found = defaultdict(list)
    for one in manifests.of_kind(_HPA, _KEDA):
        kind, name = scale_target(one)
        # One that KEDA has made belongs to its ScaledObject.
        if name and _KEDA not in [owner for owner, _ in one.owners]:
            found[one.namespace, kind, name].append(one)
    for (_, kind, name), scalers in found.items():
        yield f"{kind}/{name}", scalers


def _limits(manifests: ManifestSet) -> Iterator[tuple[Manifest, int, int]]:
    for one in manifests.of_kind(_HPA, _KEDA):
        fewest, most = (whole(one.spec, names[one.kind]) for names in (MIN_REPLICAS, MAX_REPLICAS))
        # The defaults: an HPA has one pod at least; KEDA none at least, and 100 at most.
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
    """Yield the resources of which shares are computed, each with the one container asked."""
    for resource in _resource_metrics(hpa):
        target = mapping(resource, "target")
        if text(target, "type") == "Utilization" or "averageUtilization" in target:
            yield text(resource, "name"), text(resource, "container")
    # In autoscaling/v2 that is what no metrics mean.
    if not hpa.spec.get("metrics") and not any(_resource_metrics(hpa)):
        yield "cpu", ""


def _has_request(manifests: ManifestSet, container: Container, resource: str) -> bool:
    if container.resource_request(resource) is not None:
        return True
    # The namespace may have a default, which is put in when the pod is made.
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
    # In a cluster the field is always set; whether by a manifest, kubectl has noted.
    noted = text(mapping(workload.manifest.body, "metadata", "annotations"), _LAST_APPLIED)
    try:
        return whole(json.loads(noted), "spec", "replicas")
    except (ValueError, RecursionError):
        return None


RULES = (
    Rule("HPA01", without_request),
    Rule("HPA02", target_missing),
    Rule("HPA03", two_autoscalers),
    Rule("HPA04", limits_crossed),
    Rule("HPA05", replicas_at_war),
    Rule("HPA06", no_metrics_server),
    Rule("HPA07", keda_beside_an_hpa),
    Rule("HPA08", cannot_compute),
    Rule("HPA09", nothing_to_scale),
)
