"""Fitting the manifests to a laptop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastic_yolo.lab.autoscaler.manifest import read_tiers
from elastic_yolo.lab.autoscaler.spec import Metric
from elastic_yolo.lab.errors import ManifestError
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.lab.sizing import fit, peak_rate, pick

BASE = read_tiers(ROOT / "k8s" / "base")


@pytest.mark.parametrize("available", [1, 2, 8, 16])
def test_all_pods_together_request_less_than_there_is(available: int) -> None:
    sized = fit(BASE, available)

    requested = sum(tier.hpa.max_replicas * tier.request_milli for tier in sized.tiers.values())
    assert requested <= 0.61 * available * 1000
    assert all(tier.hpa.max_replicas >= 4 for tier in sized.tiers.values())


def test_where_there_are_cores_enough_nothing_is_scaled() -> None:
    sized = fit(BASE, 64, most=4)

    assert sized.scale == 1
    assert sized.tiers["inference"].request_milli == 1000


def test_what_is_said_holds() -> None:
    sized = fit(BASE, 2, most=3, scale=0.5)

    inference = sized.tiers["inference"]
    assert (inference.request_milli, inference.limit_milli) == (500, 500)
    assert inference.hpa.max_replicas == 3


def test_an_average_is_scaled_as_the_request_is() -> None:
    web = replace(BASE["web"], hpa=replace(BASE["web"].hpa, metrics=(Metric(average_milli=100),)))

    sized = fit({**BASE, "web": web}, 2, scale=0.5)

    assert sized.tiers["web"].hpa.metrics[0].average_milli == 50


def test_the_load_needs_nearly_all_pods_of_inference() -> None:
    sized = fit(BASE, 16, most=4, scale=0.5)

    rate = peak_rate(sized, {"web": 0.001, "preprocess": 0.004, "inference": 0.01}, 16)

    assert rate * 0.01 / 0.5 / 0.7 == pytest.approx(3.5)


def test_the_load_leaves_half_of_the_machine_alone() -> None:
    sized = fit(BASE, 2, most=4, scale=1)

    rate = peak_rate(sized, {"web": 0.001, "preprocess": 0.004, "inference": 0.01}, 2)

    assert rate * 0.015 == pytest.approx(1)


def test_a_tier_that_is_missing_is_named() -> None:
    with pytest.raises(ManifestError, match="no HorizontalPodAutoscaler of preprocess"):
        pick({name: tier for name, tier in BASE.items() if name != "preprocess"})
