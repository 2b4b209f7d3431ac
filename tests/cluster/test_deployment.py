"""Deployed, scaled, updated, given another model, and hurt: in a real cluster, losing nothing.

Runs wherever kubectl points, in the order below, and says in the end how long things took.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT
from tests.cluster.cluster import OVERLAY, PATIENCE_S, Clock, Cluster, find_cluster
from tests.support.load import Load
from tests.support.waiting import wait_until

PICTURE = (ROOT / "client" / "images" / "scene-01.jpg").read_bytes()

pytestmark = pytest.mark.timeout(3 * PATIENCE_S)


@pytest.fixture(scope="module")
def clock(request: pytest.FixtureRequest) -> Iterator[Clock]:
    clock = Clock()
    yield clock
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", *clock.lines, sep="\n")  # noqa: T201  # the report


@pytest.fixture(scope="module")
def cluster(clock: Clock) -> Cluster:
    found = find_cluster()
    if isinstance(found, str):
        pytest.skip(f"no cluster: {found}")
    with clock.measuring(f"kubectl apply -k k8s/overlays/{OVERLAY}, until all of it is ready"):
        found.apply()
    return found


def is_right(answer: httpx.Response) -> bool:
    """Tell whether it is an answer of the model that was deployed."""
    body = answer.json()
    return body["model"]["name"] == "yolov3-tiny" and isinstance(body["data"], list)


def test_a_picture_is_answered(cluster: Cluster) -> None:
    with cluster.web() as url:
        answer = httpx.post(f"{url}/inference", files={"image": PICTURE}, timeout=30)
        checked = httpx.get(f"{url}/health/status", timeout=30)

    assert answer.status_code == 200
    assert is_right(answer)
    assert answer.json()["image"] == {"width": 640, "height": 480}
    assert checked.json()["status"] == "ok"


def test_under_load_inference_gets_more_pods_and_loses_them_again(
    cluster: Cluster, clock: Clock
) -> None:
    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running():
            with clock.measuring("under load, until there are two ready inference pods"):
                wait_until(
                    lambda: len(cluster.ready_pods("inference")) >= 2, "it scales up", PATIENCE_S
                )
            load.wait_for(100)
        with clock.measuring("without load, until there is one again"):
            wait_until(lambda: cluster.wanted_pods("inference") == 1, "it scales down", PATIENCE_S)

    assert set(load.statuses) <= {200, 429}


@pytest.mark.parametrize("tier", ["inference", "preprocess"])
def test_a_rolling_update_loses_nothing(cluster: Cluster, clock: Clock, tier: str) -> None:
    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running(), clock.measuring(f"rolling restart of {tier} under load"):
            load.wait_for(20)
            cluster.run("rollout", "restart", f"deployment/{tier}")
            cluster.run("rollout", "status", f"deployment/{tier}", "--timeout=300s")
            load.wait_for(20)

    assert set(load.statuses) <= {200, 429}


def test_a_pod_that_is_killed_takes_nothing_with_it(cluster: Cluster) -> None:
    cluster.run("scale", "deployment/inference", "--replicas=2")
    wait_until(lambda: len(cluster.ready_pods("inference")) >= 2, "two are there", PATIENCE_S)
    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running():
            load.wait_for(20)
            killed = cluster.ready_pods("inference")[0]
            cluster.run("delete", "pod", killed, "--grace-period=0", "--force", "--wait=false")
            load.wait_for(50)

    assert set(load.statuses) <= {200, 429}


def test_a_new_version_of_the_model_is_served_without_a_restart(
    cluster: Cluster, clock: Clock
) -> None:
    """The job brings it, every pod takes it; no pod is another one afterwards."""
    before = set(cluster.ready_pods("inference"))
    text = (ROOT / "k8s" / "base" / "models-to-provision.yaml").read_text()
    stated = cluster.get("cronjob", "models")
    volumes = stated["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"]
    name = next(one["configMap"]["name"] for one in volumes if "configMap" in one)
    data = {"models.yaml": text.replace('version: "2018"', 'version: "again"')}

    def version(url: str) -> str:
        answer = httpx.post(f"{url}/inference", files={"image": PICTURE}, timeout=30)
        return str(answer.json()["model"]["version"])

    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running(), clock.measuring("from a new version to answers by it, under load"):
            cluster.run("patch", "configmap", name, "--patch", json.dumps({"data": data}))
            cluster.run("create", "job", "--from=cronjob/models", "models-test")
            cluster.run("wait", "--for=condition=complete", "job/models-test", "--timeout=600s")
            wait_until(lambda: version(url) == "again", "it is served", 120)
            load.wait_for(20)
        cluster.run("delete", "job", "models-test")

    assert set(load.statuses) <= {200, 429}
    assert before & set(cluster.ready_pods("inference"))
