"""Rules for the limits and the state of HorizontalPodAutoscalers and KEDA's ScaledObjects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from elastic_yolo.doctor.finding import Finding, error, warning
from elastic_yolo.doctor.manifest_set import MAX_REPLICAS, MIN_REPLICAS, ManifestSet
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.rule import Rule
from elastic_yolo.doctor.scalers import HPA, KEDA, resource_metrics
from elastic_yolo.doctor.values import mapping, mappings, text, whole
from elastic_yolo.doctor.workload import Workload, options_of

# What the manifests of metrics-server's own releases state; the program's default is a minute.
_RESOLUTION_S = 15
_DEFAULT_RESOLUTION = "60s"
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|h|m|s)")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_METRICS_API = "v1beta1.metrics.k8s.io"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


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


def zero_without_outside_metric(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA13: a minimum of 0, and only metrics of the pods themselves.

    Source: Kubernetes' enhancement 2021, which is enabled by default since 1.37.
    """
    for hpa in manifests.of_kind(HPA):
        kinds = {text(metric, "type") for _, metric in mappings(hpa.spec, "metrics")}
        if whole(hpa.spec, "minReplicas") == 0 and not kinds & {"Object", "External"}:
            yield error(
                hpa.at("spec", "minReplicas"),
                "minReplicas is 0, and no metric is of type Object or External.",
                "The API server rejects it: without pods, nothing would tell that one is needed.",
                "Set minReplicas to 1, or add such a metric; before 1.37 the feature gate "
                "HPAScaleToZero has to be on as well.",
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
                f"Every apply resets the {workload.manifest.kind} to {stated} pods, even under "
                "full load, until the autoscaler's next sync.",
                "Remove replicas; the first pods are the autoscaler's minimum.",
            )


def no_metrics_server(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA06: metrics-server is missing or unavailable."""
    if not manifests.live or "apiservices" in manifests.unread:
        return
    affected = [hpa for hpa in manifests.of_kind(HPA) if any(resource_metrics(hpa))]
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


def metrics_are_old(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA14: metrics-server measures less often than its own manifests say."""
    server = manifests.system("Deployment", "metrics-server")
    affected = [hpa for hpa in manifests.of_kind(HPA) if any(resource_metrics(hpa))]
    if server is None or not affected:
        return
    for container in Workload(server).containers:
        if container.name != "metrics-server":
            continue
        stated = options_of(container).get("--metric-resolution", _DEFAULT_RESOLUTION)
        found = _DURATION.findall(stated)
        if sum(float(number) * _UNIT_S[unit] for number, unit in found) > _RESOLUTION_S:
            yield warning(
                server.at("spec", "template", "spec", "containers"),
                f"metrics-server measures every {stated} (--metric-resolution).",
                "An autoscaler sees a load only after two measurements: its first decision takes "
                "one to two minutes instead of half a minute.",
                "Set --metric-resolution=15s: docs/deploy-minikube.md has the command.",
            )


def hpa_not_active(manifests: ManifestSet) -> Iterator[Finding]:
    """HPA08: an HPA reports that it cannot scale."""
    for hpa in manifests.of_kind(HPA) if manifests.live else ():
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


def _limits(manifests: ManifestSet) -> Iterator[tuple[Manifest, int, int]]:
    for one in manifests.of_kind(HPA, KEDA):
        fewest, most = (whole(one.spec, names[one.kind]) for names in (MIN_REPLICAS, MAX_REPLICAS))
        # Defaults: an HPA has a minimum of 1; KEDA a minimum of 0 and a maximum of 100.
        if fewest is None:
            fewest = 1 if one.kind == HPA else 0
        if most is None and one.kind == KEDA:
            most = 100
        if most is not None:
            yield one, fewest, most


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
    Rule("HPA04", min_above_max),
    Rule("HPA05", replicas_beside_autoscaler),
    Rule("HPA06", no_metrics_server),
    Rule("HPA08", hpa_not_active),
    Rule("HPA09", min_equals_max),
    Rule("HPA13", zero_without_outside_metric),
    Rule("HPA14", metrics_are_old),
)
