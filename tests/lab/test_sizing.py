"""Scaling the manifests to the cores of a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastic_yolo.lab.autoscaler.manifest import read_tiers
from elastic_yolo.lab.autoscaler.spec import Metric
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.sizing import (
    ScaledTiers,
    peak_rate,
    require_tiers,
    scale_to_cores,
    scaled,
    with_max,
    with_target,
)

BASE = read_tiers(ROOT / "k8s" / "base")


COSTS = {"web": 0.001, "preprocess": 0.004, "inference": 0.01}


def scaled_tiers(limit: int, scale: float) -> ScaledTiers:
    """Return the tiers of k8s/base with another maxReplicas and scaled CPU requests."""
    return ScaledTiers(
        {name: scaled(with_max(tier, limit), scale) for name, tier in BASE.items()}, scale
    )


@pytest.mark.parametrize("available", [1, 2, 8, 16])
def test_all_pods_cpu_requests_add_up_to_60_percent(available: int) -> None:
    found = scale_to_cores(BASE, available)

    requested = sum(tier.hpa.max_replicas * tier.request_milli for tier in found.tiers.values())
    assert requested <= 0.61 * available * 1000
    assert all(tier.hpa.max_replicas >= 4 for tier in found.tiers.values())


def test_with_enough_cores_nothing_is_scaled() -> None:
    found = scale_to_cores(BASE, 64, limit=4)

    assert found.scale == 1
    assert found.tiers["inference"].request_milli == 1000


def test_max_replicas_and_scale_change_requests_and_limits() -> None:
    inference = scaled_tiers(3, 0.5).tiers["inference"]

    assert (inference.request_milli, inference.limit_milli) == (500, 500)
    assert inference.hpa.max_replicas == 3


def test_another_target_replaces_the_metrics_of_a_tier() -> None:
    web = replace(BASE["web"], hpa=replace(BASE["web"].hpa, metrics=(Metric(average_milli=100),)))

    assert with_target(web, 40).hpa == replace(BASE["web"].hpa, metrics=(Metric(utilization=40),))


def test_an_absolute_target_is_scaled_like_the_request() -> None:
    web = replace(BASE["web"], hpa=replace(BASE["web"].hpa, metrics=(Metric(average_milli=100),)))

    assert scaled(web, 0.5).hpa.metrics[0].average_milli == 50


def test_the_load_needs_nearly_all_pods_of_inference() -> None:
    rate = peak_rate(scaled_tiers(4, 0.5), COSTS, 16)

    assert rate * 0.01 / 0.5 / 0.7 == pytest.approx(3.5)


def test_the_load_uses_at_most_half_of_the_cores() -> None:
    rate = peak_rate(scaled_tiers(4, 1), COSTS, 2)

    assert rate * 0.015 == pytest.approx(1)


def test_a_missing_tier_is_named() -> None:
    with pytest.raises(ManifestError, match="no HorizontalPodAutoscaler of preprocess"):
        require_tiers({name: tier for name, tier in BASE.items() if name != "preprocess"})
