"""A real cluster deploys, scales, updates, changes the model and loses a pod, without failures.

The tests run in this order in the cluster of kubectl's context; at the end they print durations.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.tiers import TIERS
from tests.cluster.cluster import FOLDER, OVERLAY, TIMEOUT_S, Clock, Cluster, find_cluster
from tests.support.live import watching
from tests.support.load import Load
from tests.support.waiting import wait_until

PICTURE = (ROOT / "client" / "photos" / "dog.jpg").read_bytes()
ROLLBACK = ("rollback", "yolov3-tiny", "--store=/models", "--wait=600")

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)


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
    """Return whether a response has detections of the deployed model."""
    body = answer.json()
    labels = {label for label, _, _ in body["data"]}
    return body["model"]["name"] == "yolov3-tiny" and "car" in labels


def test_a_picture_is_served(cluster: Cluster) -> None:
    with cluster.web() as url:
        answer = httpx.post(f"{url}/inference", files={"image": PICTURE}, timeout=30)
        checked = httpx.get(f"{url}/health/status", timeout=30)

    assert answer.status_code == 200
    assert is_right(answer)
    assert answer.json()["image"] == {"width": 768, "height": 576}
    assert checked.json()["status"] == "ok"


def test_the_live_view_shows_every_pod(cluster: Cluster) -> None:
    with cluster.web() as url, watching(url) as viewer:
        wait_until(lambda: bool(viewer.events), "an event", 60)
        for tier in TIERS:
            wait_until(
                lambda tier=tier: (
                    {one["name"] for one in viewer.cards(tier)} == set(cluster.ready_pods(tier))
                ),
                f"the live view has all pods of {tier}",
                TIMEOUT_S,
            )

        states = {one["state"] for tier in TIERS for one in viewer.cards(tier)}

    assert states == {"ready"}


def test_under_load_inference_scales_up_and_down(cluster: Cluster, clock: Clock) -> None:
    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running():
            with clock.measuring("under load, until there are two ready inference pods"):
                wait_until(
                    lambda: len(cluster.ready_pods("inference")) >= 2, "it scales up", TIMEOUT_S
                )
            load.wait_for(100)
        with clock.measuring("without load, until there is one again"):
            wait_until(lambda: cluster.wanted_pods("inference") == 1, "it scales down", TIMEOUT_S)

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


@pytest.mark.parametrize("tier", ["inference", "preprocess"])
def test_a_killed_process_of_the_only_pod_loses_no_request(
    cluster: Cluster, clock: Clock, tier: str
) -> None:
    """SIGKILL, as by the kernel when memory runs out: no drain, and nobody behind for a while."""
    with cluster.one_pod_of(tier), cluster.web() as url:
        before = cluster.restarts(tier)
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running_at(8), clock.measuring(f"SIGKILL of the only {tier}, at 8 pictures/s"):
            load.wait_for(40)
            cluster.kill(tier)
            wait_until(lambda: cluster.restarts(tier) > before, "it is restarted", TIMEOUT_S)
            wait_until(lambda: len(cluster.ready_pods(tier)) == 1, "it is ready", TIMEOUT_S)
            load.wait_for(40)

    assert Counter(load.statuses) == {200: len(load.statuses)}


def test_a_killed_pod_of_two_loses_no_request(cluster: Cluster) -> None:
    cluster.run("scale", "deployment/inference", "--replicas=2")
    wait_until(lambda: len(cluster.ready_pods("inference")) >= 2, "two are there", TIMEOUT_S)
    with cluster.web() as url:
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running():
            load.wait_for(20)
            killed = cluster.ready_pods("inference")[0]
            cluster.run("delete", "pod", killed, "--grace-period=0", "--force", "--wait=false")
            load.wait_for(50)

    assert set(load.statuses) <= {200, 429}


def served_version(url: str) -> str:
    answer = httpx.post(f"{url}/inference", files={"image": PICTURE}, timeout=30)
    return str(answer.json()["model"]["version"])


def test_a_new_model_version_is_served_without_a_restart(cluster: Cluster, clock: Clock) -> None:
    """The job publishes it and every pod loads it; no pod is replaced.

    Then it is rolled back: the job leaves that as it is until the pin is released.
    """
    before = set(cluster.ready_pods("inference"))
    text = (ROOT / "k8s" / "base" / "models-to-provision.yaml").read_text(encoding="utf-8")
    # Another one in each run: a version that is published already would not be new.
    new = f"test-{time.time_ns():x}"
    data = {"models.yaml": text.replace("- zoo: ", f"- version: {new}\n    zoo: ")}

    with cluster.web() as url:
        old = served_version(url)
        load = Load(f"{url}/inference", PICTURE, is_right)
        with load.running():
            with clock.measuring("from a new version until it serves, under load"):
                cluster.run("patch", "configmap", "models", "--patch", json.dumps({"data": data}))
                assert f"{new}: published" in cluster.pull()
                wait_until(lambda: served_version(url) == new, "it is served", 120)
            load.wait_for(20)

            with clock.measuring("from a rollback until the old version serves, under load"):
                assert "pinned until models.yaml names another" in cluster.provision(*ROLLBACK)
                wait_until(lambda: served_version(url) == old, "the old one is served", 120)
            assert "by a rollback at" in cluster.pull()
            assert "(pinned: rolled back from" in cluster.provision("list", "--store=/models")
            load.wait_for(20)
            assert served_version(url) == old

            assert "released" in cluster.provision("release", *ROLLBACK[1:])
            assert f"{new}: switched" in cluster.pull()
            wait_until(lambda: served_version(url) == new, "it is served again", 120)

    assert set(load.statuses) <= {200, 429}
    assert before & set(cluster.ready_pods("inference"))


def test_the_overlay_can_be_applied_and_removed_after_the_models_were_edited(
    cluster: Cluster,
) -> None:
    """Applied twice within five minutes; removed only as a dry run, to leave the deployment."""
    cluster.apply()
    cluster.apply()

    removal = ("delete", "--kustomize", str(FOLDER), "--ignore-not-found")
    assert "configmap" in cluster.run(*removal, "--dry-run=server")
