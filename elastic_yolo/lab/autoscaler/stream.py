"""Reads the Deployment that consumes a stream, and what scales it on the stream's lag."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastic_yolo.lab.autoscaler.hpa_manifest import read_hpa
from elastic_yolo.lab.autoscaler.keda import KedaSpec, read_scaled_object
from elastic_yolo.lab.autoscaler.manifest import Tier, find_deployments, read_objects, read_tier
from elastic_yolo.lab.errors import ManifestError

STREAM_MANIFESTS = Path(__file__).resolve().parents[1] / "stream-manifests"
"""The manifests of k8s/components/stream: package data, in the repository a link."""


@dataclass(frozen=True)
class StreamTier:
    """A Deployment that consumes a stream, its HPA, and KEDA if a ScaledObject made that HPA."""

    tier: Tier
    keda: KedaSpec | None


def read_stream(place: Path) -> StreamTier:
    """Return the consumer of a file or folder with one autoscaler; raises ManifestError.

    Without a Deployment in `place`, its autoscaler is that of the project's own consumer.
    """
    objects = list(read_objects(place))
    scalers = [
        (path, one)
        for path, one in objects
        if one.get("kind") in ("ScaledObject", "HorizontalPodAutoscaler")
    ]
    if len(scalers) != 1:
        many = "several autoscalers" if scalers else "no ScaledObject or HorizontalPodAutoscaler"
        raise ManifestError(f"{place}: {many}, expected one of a stream's consumer")
    ((path, found),) = scalers
    keda = None
    if found["kind"] == "ScaledObject":
        target, hpa, keda = read_scaled_object(path, found)
    else:
        target, hpa = read_hpa(path, found)
    if not any(metric.type == "External" for metric in hpa.metrics):
        raise ManifestError(f"{path}: {hpa.name} has no External metric, such as a stream's lag")
    deployments = find_deployments(objects) or find_deployments(read_objects(STREAM_MANIFESTS))
    if target not in deployments:
        raise ManifestError(f"{path}: {hpa.name} scales {target}, but no manifest has it")
    return StreamTier(read_tier(*deployments[target], hpa), keda)
