"""HorizontalPodAutoscalers and KEDA's ScaledObjects: what they scale, and by which resources."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elastic_yolo.doctor.manifest_set import ManifestSet, scale_target
from elastic_yolo.doctor.manifests import Manifest
from elastic_yolo.doctor.values import Path, mapping, mappings, text
from elastic_yolo.doctor.workload import TEMPLATES, Workload

HPA = "HorizontalPodAutoscaler"
KEDA = "ScaledObject"
_PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")
_TRANSFER = "scaledobject.keda.sh/transfer-hpa-ownership"


@dataclass(frozen=True)
class ResourceMetric:
    """A metric of CPU or memory."""

    resource: str
    container: str | None
    """The container that a ContainerResource names; None if all containers count."""
    is_percentage: bool
    """Whether the target is in per cent of the request."""
    path: Path


def resource_metrics(scaler: Manifest) -> Iterator[ResourceMetric]:
    """Yield the metrics of CPU and memory."""
    if scaler.kind == KEDA:
        yield from _triggers(scaler)
        return
    for place, metric in mappings(scaler.spec, "metrics"):
        for key in ("resource", "containerResource"):
            if body := mapping(metric, key):
                target = mapping(body, "target")
                yield ResourceMetric(
                    text(body, "name"),
                    text(body, "container") if key == "containerResource" else None,
                    text(target, "type") == "Utilization" or "averageUtilization" in target,
                    ("spec", "metrics", place, key),
                )
    # autoscaling/v1, and the default of an HPA without metrics.
    if "targetCPUUtilizationPercentage" in scaler.spec or not scaler.spec.get("metrics"):
        yield ResourceMetric(
            "cpu", None, is_percentage=True, path=("spec", "targetCPUUtilizationPercentage")
        )


def active_scalers(manifests: ManifestSet) -> Iterator[Manifest]:
    """Yield all autoscalers without paused ones, and without HPAs that KEDA created."""
    for one in manifests.of_kind(HPA, KEDA):
        paused = any(_is_set(one.annotations.get(name)) for name in _PAUSED)
        if not paused and KEDA not in [owner for owner, _ in one.owners]:
            yield one


def takes_over(keda: Manifest, hpa: Manifest) -> bool:
    """Return whether a ScaledObject is to adopt an existing HPA.

    Source: KEDA, "Scaling Deployments, StatefulSets & Custom Resources", transfer of ownership.
    """
    adopted = text(keda.spec, "advanced", "horizontalPodAutoscalerConfig", "name")
    return keda.annotations.get(_TRANSFER) == "true" and adopted == hpa.name


def target_of(manifests: ManifestSet, scaler: Manifest) -> Workload | None:
    """Return the workload that an autoscaler scales; None if it is not in the set."""
    kind, name = scale_target(scaler)
    found = manifests.named(kind, scaler.namespace, name) if kind in TEMPLATES else None
    return None if found is None else Workload(found)


def _triggers(keda: Manifest) -> Iterator[ResourceMetric]:
    """Yield KEDA's triggers of the types cpu and memory."""
    for place, trigger in mappings(keda.spec, "triggers"):
        kind, stated = text(trigger, "type"), mapping(trigger, "metadata")
        if kind in ("cpu", "memory"):
            metric_type = text(trigger, "metricType") or text(stated, "type") or "Utilization"
            yield ResourceMetric(
                kind,
                text(stated, "containerName") or None,
                metric_type == "Utilization",
                ("spec", "triggers", place),
            )


def _is_set(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "false")
