"""Checks of the cluster tests without a cluster: what they expect is deployed."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from elastic_yolo.provision.config import read_models_config
from elastic_yolo.tiers import TIERS
from tests.cluster.cluster import (
    EXAMPLE,
    NAMESPACE,
    OVERLAY,
    find_cluster,
    job_commands,
    ready_of,
)
from tests.cluster.kill import find_main_process
from tests.support.rendered import K8S, Manifest, name_of, of_kind, parse, render, require_kubectl


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


def test_the_documented_rollback_is_the_cron_jobs_job_with_other_arguments(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    """The real kubectl patches it; what needs a cluster is replaced by files."""
    (first,) = of_kind(manifests, "Job")
    (tmp_path / "from-cron-job.json").write_text(json.dumps(first))
    functions = f"""kubectl() {{ case "$*" in
      *"create job --from=cronjob/models "*) cat from-cron-job.json ;;
      "patch "*) command {shlex.join(map(str, require_kubectl()))} "$@" ;;
      "create -f -") cat > created.json ;;
    esac; }}"""

    subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f"{functions}\n{job_commands()}"],
        cwd=tmp_path,
        check=True,
    )

    created = json.loads((tmp_path / "created.json").read_text())
    container = first["spec"]["template"]["spec"]["containers"][0]
    container["args"] = json.loads(f"[{EXAMPLE}]")
    # A second try of a rollback would go back one version further.
    first["spec"]["backoffLimit"] = 0
    assert created == first


def test_only_process_1_of_the_container_is_found(tmp_path: Path) -> None:
    """As the node's /proc shows them: its own process 1, and those of two containers."""
    for pid, container, numbers in [
        (1, "", "1"),
        (70, "aaa", "70 1"),
        (71, "aaa", "71 8"),
        (72, "bbb", "72 1"),
        (73, "ccc", "73"),
    ]:
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(f"0::/../../pod-1.slice/cri-containerd-{container}.scope\n")
        (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{numbers}\nThreads:\t1\n")
    (tmp_path / "self").mkdir()
    (tmp_path / "99").mkdir()

    assert find_main_process(tmp_path, "aaa") == 70
    with pytest.raises(LookupError, match="0 processes"):
        find_main_process(tmp_path, "ccc")


def test_without_cluster_test_nothing_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTER_TEST", raising=False)

    assert find_cluster() == "only `make cluster-test` uses one"


def test_an_unreachable_cluster_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    require_kubectl()
    monkeypatch.setenv("CLUSTER_TEST", "1")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))

    assert find_cluster() == "the cluster does not respond"
