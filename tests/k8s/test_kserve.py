"""KServe accepts the runtime and the example, and what they start answers as KServe expects."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT, free_port
from services.inference.settings import InferenceSettings
from tests.k8s.foreign_schemas import faults
from tests.support.rendered import K8S, Manifest
from tests.support.waiting import wait_until

FOLDER = K8S / "kserve"
NAME = "yolov3-tiny-emoji"  # what model.yaml of the embedded model says
# Of Knative, which KServe uses unless it is told otherwise: pkg/apis/serving/k8s_validation.go.
RESERVED_BY_KNATIVE = {"PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION"}


def read(name: str) -> Manifest:
    manifest: Manifest = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return manifest


def container() -> dict[str, Any]:
    (found,) = read("cluster-serving-runtime")["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("name", ["cluster-serving-runtime", "inference-service"])
def test_two_releases_of_kserve_accept_the_manifest(name: str) -> None:
    manifest = read(name)
    wrong = copy.deepcopy(manifest)
    part = wrong["spec"].get("predictor", {}).get("model") or wrong["spec"]["containers"][0]
    part["enw"] = []

    assert faults(manifest) == []
    assert len(faults(wrong)) == 2


def test_the_example_is_served_by_the_runtime() -> None:
    runtime = read("cluster-serving-runtime")["spec"]
    model = read("inference-service")["spec"]["predictor"]["model"]
    formats = {one["name"]: one for one in runtime["supportedModelFormats"]}

    assert formats[model["modelFormat"]["name"]]["autoSelect"] is True
    assert model["protocolVersion"] in runtime["protocolVersions"]


def test_the_container_has_the_name_and_the_variables_that_kserve_and_knative_allow() -> None:
    stated = {one["name"]: one["value"] for one in container()["env"]}

    assert container()["name"] == "kserve-container"
    assert not stated.keys() & RESERVED_BY_KNATIVE
    assert stated == {"MODEL_PATH": "/mnt/models"}
    assert {name.lower() for name in stated} <= InferenceSettings.model_fields.keys()


def test_the_container_runs_the_program_of_the_image() -> None:
    """After the variable that Knative does not let it have."""
    text = (ROOT / "services" / "inference" / "Dockerfile").read_text()
    *_, command = text.strip().splitlines()
    (port,) = [one["containerPort"] for one in container()["ports"]]

    assert container()["command"] == [
        "env",
        f"PORT={port}",
        *json.loads(command.removeprefix("CMD ")),
    ]


@contextmanager
def started(models: Path) -> Iterator[str]:
    """Run the container's command as KServe does; the folder stands for /mnt/models."""
    port = free_port()
    command = [one.replace("8080", str(port)) for one in container()["command"]]
    env = {one["name"]: one["value"] for one in container()["env"]}
    env["MODEL_PATH"] = env["MODEL_PATH"].replace("/mnt/models", str(models))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = subprocess.Popen(
        command, cwd=ROOT, env={"PATH": path, **env}, stderr=subprocess.DEVNULL
    )
    url = f"http://{LOOPBACK}:{port}"

    def is_ready() -> bool:
        assert process.poll() is None
        try:
            ready = container()["readinessProbe"]["httpGet"]["path"]
            return httpx.get(url + ready).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_ready, "the readiness probe succeeds", 60)
        yield url
    finally:
        process.terminate()
        assert process.wait(40) == 0


def test_a_folder_that_kserve_has_downloaded_is_served_read_only(tmp_path: Path) -> None:
    """The files of storageUri, without our store, a cache or a setting more."""
    models = tmp_path / "models"
    shutil.copytree(DEMO_MODEL, models)
    for path in (*models.iterdir(), models):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path.name for path in models.iterdir())
    with started(models) as url, httpx.Client(base_url=url, timeout=60) as client:
        alive = client.get(container()["livenessProbe"]["httpGet"]["path"])
        metrics = client.get("/metrics")
        ready = client.get(f"/v2/models/{NAME}/ready")
        described = client.get(f"/v2/models/{NAME}").json()
        answer = client.post(f"/v2/models/{NAME}/infer", json=request(described))
        found = answer.json()

    assert (alive.status_code, ready.status_code, metrics.status_code) == (200, 200, 200)
    assert answer.status_code == 200, found
    assert found["model_name"] == NAME
    assert {one["name"] for one in found["outputs"]} >= {"detections"}
    assert sorted(path.name for path in models.iterdir()) == before


def request(described: dict[str, Any]) -> dict[str, Any]:
    """Return a grey picture in JSON, of the input that the metadata describes."""
    (tensor,) = [one for one in described["inputs"] if one["name"] == "images"]
    shape = [1, *tensor["shape"][1:]]
    grey = np.full(shape, 127, np.uint8)
    data = {"name": "images", "datatype": "UINT8", "shape": shape, "data": grey.ravel().tolist()}
    return {"inputs": [data]}
