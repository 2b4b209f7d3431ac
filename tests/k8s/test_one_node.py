"""The overlays for one node: everything fits 4 CPUs and 6 GB, and rollouts never wait for room."""

from __future__ import annotations

from fractions import Fraction

import pytest
import yaml

from elastic_yolo.doctor.dns import NOTICE_S
from elastic_yolo.doctor.values import share_of
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.quantity import parse_quantity
from tests.support.rendered import (
    Manifest,
    name_of,
    of_kind,
    parse,
    render_overlay,
    render_with,
)

SIZING = (ROOT / "docs" / "sizing.md").read_text()
ONE_NODE = ("minikube", "microk8s")
# What minikube's own pods request, with kindnet and metrics-server: the table of docs/sizing.md.
SYSTEM = {"cpu": Fraction("0.950"), "memory": Fraction(420 * 2**20)}
# `minikube start --cpus 4 --memory 6g`; the kernel and the node keep a part of the memory.
NODE = {"cpu": Fraction(4), "memory": Fraction(5700 * 2**20)}


def most_pods(manifests: list[Manifest]) -> dict[str, int]:
    return {
        name_of(one): one["spec"]["maxReplicas"]
        for one in of_kind(manifests, "HorizontalPodAutoscaler")
    }


def requests(template: Manifest) -> dict[str, Fraction]:
    (container,) = template["spec"]["containers"]
    return {name: parse_quantity(container["resources"]["requests"][name]) for name in NODE}


def total(manifests: list[Manifest], resource: str) -> Fraction:
    """All tiers at their maximum, and one job that fills the volume."""
    most = most_pods(manifests)
    (job,) = of_kind(manifests, "CronJob")
    tiers = {
        name_of(one): requests(one["spec"]["template"])[resource]
        for one in of_kind(manifests, "Deployment")
    }
    assert tiers.keys() == most.keys()
    return sum(
        (tiers[name] * most[name] for name in tiers),
        requests(job["spec"]["jobTemplate"]["spec"]["template"])[resource],
    )


@pytest.mark.parametrize("overlay", ONE_NODE)
@pytest.mark.parametrize("resource", sorted(NODE))
def test_all_tiers_at_their_maximum_fit_the_node(overlay: str, resource: str) -> None:
    assert total(parse(render_overlay(overlay)), resource) + SYSTEM[resource] <= NODE[resource]


def test_the_sum_in_the_documentation_is_that_of_the_manifests() -> None:
    manifests = parse(render_overlay("minikube"))

    assert f"{int(total(manifests, 'cpu') * 1000):,}m" in SIZING
    assert f"{int(SYSTEM['cpu'] * 1000)}m" in SIZING
    for one in of_kind(manifests, "Deployment"):
        cpu = int(requests(one["spec"]["template"])["cpu"] * 1000)
        assert f"| {name_of(one)} | {most_pods(manifests)[name_of(one)]} x {cpu}m " in SIZING


@pytest.mark.parametrize("overlay", ONE_NODE)
def test_a_class_sees_inference_scale_from_one_pod_to_six(overlay: str) -> None:
    (hpa,) = (
        one
        for one in of_kind(parse(render_overlay(overlay)), "HorizontalPodAutoscaler")
        if name_of(one) == "inference"
    )

    assert (hpa["spec"]["minReplicas"], hpa["spec"]["maxReplicas"]) == (1, 6)


@pytest.mark.parametrize("overlay", ONE_NODE)
def test_a_rollout_never_waits_for_room(overlay: str) -> None:
    """One pod: below its maximum, so that a second fits. More: at least one may be replaced."""
    manifests = parse(render_overlay(overlay))
    for one in of_kind(manifests, "Deployment"):
        most = most_pods(manifests)[name_of(one)]
        allowed = one["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
        assert most >= 2
        assert share_of(allowed, 1, up=False) == 0
        assert all(share_of(allowed, pods, up=False) for pods in range(2, most + 1))


def test_with_cached_dns_old_pods_serve_for_as_long_as_two_caches_name_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """30 s in CoreDNS, and the 5 s that NodeLocal DNSCache keeps an answer at least."""
    manifests = parse(render_with(["cached-dns"], tmp_path_factory.mktemp("cached")))
    serves_s = {
        name_of(one): one["spec"].get("minReadySeconds", 0)
        for one in of_kind(manifests, "Deployment")
    }
    drain_s = {
        name_of(one).partition("-")[0]: int(one["data"]["DRAIN_DELAY_S"])
        for one in of_kind(manifests, "ConfigMap")
        if "DRAIN_DELAY_S" in one["data"]
    }

    for tier in ("preprocess", "inference"):
        assert serves_s[tier] + drain_s[tier] >= 30 + 5 + NOTICE_S
    assert serves_s["web"] == 0


def test_the_overlays_differ_in_their_storage_class_only() -> None:
    one, other = (yaml.safe_load_all(render_overlay(name)) for name in ONE_NODE)
    differing = [(a["kind"], b["kind"]) for a, b in zip(one, other, strict=True) if a != b]

    assert differing == [("PersistentVolumeClaim", "PersistentVolumeClaim")]
