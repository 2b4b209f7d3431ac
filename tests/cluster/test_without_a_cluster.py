"""Checks of the cluster tests without a cluster: what they expect is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastic_yolo.provision.config import read_models_config
from elastic_yolo.tiers import TIERS
from tests.cluster.cluster import NAMESPACE, OVERLAY, find_cluster, ready_of
from tests.support.rendered import K8S, Manifest, name_of, of_kind, parse, render, require_tools


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    return parse(render(K8S / "overlays" / OVERLAY))


def test_everything_that_they_expect_is_deployed(manifests: list[Manifest]) -> None:
    names = {(one["kind"], name_of(one)) for one in manifests}

    assert ("Namespace", NAMESPACE) in names
    assert {("Job", "models-first"), ("CronJob", "models"), ("Service", "web")} <= names
    for tier in TIERS:
        assert {("Deployment", tier), ("HorizontalPodAutoscaler", tier)} <= names


def test_the_expected_model_is_provisioned() -> None:
    (model,) = read_models_config(K8S / "base" / "models-to-provision.yaml").models

    assert (model.name, model.channels) == ("yolov3-tiny", ("stable",))


def test_the_model_volume_is_filled_from_one_config_map(manifests: list[Manifest]) -> None:
    (job,) = of_kind(manifests, "CronJob")
    volumes = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    maps = {name_of(one) for one in of_kind(manifests, "ConfigMap")}

    assert [one["configMap"]["name"] in maps for one in volumes if "configMap" in one] == [True]


def test_a_pod_counts_if_it_is_ready_and_not_terminating() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    pods = [
        {"metadata": {"name": "a"}, "status": ready},
        {"metadata": {"name": "b", "deletionTimestamp": "now"}, "status": ready},
        {
            "metadata": {"name": "c"},
            "status": {"conditions": [{"type": "Ready", "status": "False"}]},
        },
        {"metadata": {"name": "d"}, "status": {}},
    ]

    assert ready_of(pods) == ["a"]


def test_without_cluster_test_nothing_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTER_TEST", raising=False)

    assert find_cluster() == "only `make cluster-test` uses one"


def test_an_unreachable_cluster_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_tools()
    monkeypatch.setenv("CLUSTER_TEST", "1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    assert find_cluster() == "the cluster does not respond"
