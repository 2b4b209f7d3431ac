"""Scales the cluster's manifests to the cores of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from elastic_yolo.lab.autoscaler.manifest import Tier
from elastic_yolo.lab.autoscaler.spec import HpaSpec, Metric
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.lab.sampled import target_milli
from elastic_yolo.tiers import TIERS

# The part of the cores that all pods' CPU requests add up to. The rest is for the lab itself, and
# for pods that start.
REQUESTED = 0.6
_FEW_REPLICAS = 4
# The part of the cores that the load may use.
_BUSY = 0.5


@dataclass(frozen=True)
class ScaledTiers:
    """The tiers with scaled CPU requests."""

    tiers: Mapping[str, Tier]
    scale: float
    """The factor of the manifests' CPU requests and limits."""


def cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_tiers(tiers: Mapping[str, Tier]) -> dict[str, Tier]:
    """Return web, preprocess and inference; raises ManifestError if one is missing."""
    for name in TIERS:
        if name not in tiers:
            raise ManifestError(f"no HorizontalPodAutoscaler of {name} in the manifests")
    return {name: tiers[name] for name in TIERS}


def with_max(tier: Tier, limit: int) -> Tier:
    """Return the tier with another maxReplicas."""
    least = min(tier.hpa.min_replicas, limit)
    return replace(tier, hpa=replace(tier.hpa, max_replicas=limit, min_replicas=least))


def with_target(tier: Tier, percent: int) -> Tier:
    """Return the tier with a CPU target in per cent of the CPU request as its only metric."""
    return replace(tier, hpa=replace(tier.hpa, metrics=(Metric(utilization=percent),)))


def scale_to_cores(
    tiers: Mapping[str, Tier], available: int, limit: int | None = None
) -> ScaledTiers:
    """Return the tiers with CPU requests scaled so that all pods fit `available` cores.

    `limit` replaces maxReplicas; by default it is the manifest's, but at most 4 or half the number
    of cores.
    """
    few = max(_FEW_REPLICAS, available // 2)
    bounded = {
        name: with_max(tier, limit or min(tier.hpa.max_replicas, few))
        for name, tier in require_tiers(tiers).items()
    }
    wanted = sum(tier.hpa.max_replicas * tier.request_milli for tier in bounded.values())
    scale = min(1.0, round(REQUESTED * available * 1000 / wanted, 3))
    return ScaledTiers({name: scaled(tier, scale) for name, tier in bounded.items()}, scale)


def peak_rate(scaled_tiers: ScaledTiers, costs: Mapping[str, float], available: int) -> float:
    """Return the pictures per second for which inference needs nearly all of its pods.

    `costs` are the measured CPU seconds per picture by tier.
    """
    tier, cost = scaled_tiers.tiers["inference"], max(1e-4, costs["inference"])
    # Half a pod less, so that a cost measured slightly too low does not exceed maxReplicas.
    pods = max(1.5, tier.hpa.max_replicas - 0.5)
    wanted = pods * target_milli(tier) / 1000 / cost
    possible = _BUSY * available / max(1e-4, sum(costs.values()))
    return min(wanted, possible)


def scaled(tier: Tier, scale: float) -> Tier:
    """Return the tier with its CPU requests, limit and absolute CPU target multiplied."""
    return replace(
        tier,
        request_milli=_milli(tier.request_milli, scale),
        requests={
            key: _milli(value, scale) if value else 0 for key, value in tier.requests.items()
        },
        limit_milli=None if tier.limit_milli is None else _milli(tier.limit_milli, scale),
        hpa=_scale_targets(tier.hpa, scale),
    )


def _scale_targets(hpa: HpaSpec, scale: float) -> HpaSpec:
    metrics = tuple(
        replace(metric, average_milli=_milli(metric.average_milli, scale))
        if metric.name == "cpu" and metric.average_milli is not None
        else metric
        for metric in hpa.metrics
    )
    return replace(hpa, metrics=metrics)


def _milli(value: int, scale: float) -> int:
    return max(1, round(value * scale))
