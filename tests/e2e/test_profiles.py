"""The profiles and variables of docker-compose.yml: monitoring, load, gpu; model and token."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from elastic_yolo.lab.processes.stack import DEMO_MODEL, LOOPBACK, ROOT, free_port
from elastic_yolo.tiers import PORTS, TIERS
from tests.e2e.compose import Compose, docker, inspect, running, why_not
from tests.support.load import Load
from tests.support.monitoring import PROMETHEUS, ask
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

PICTURE = (ROOT / "client" / "images" / "scene-01.jpg").read_bytes()
OF_DEBIAN = "elastic-yolo/prometheus-of-debian"


def prometheus_image(folder: Path) -> str:
    """Return PROMETHEUS_IMAGE, or build an image with Debian's Prometheus."""
    if image := os.environ.get("PROMETHEUS_IMAGE"):
        return image
    base = os.environ.get("BASE_IMAGE", "python:3.11-slim-bookworm")
    shutil.copy(PROMETHEUS, folder / "prometheus")
    (folder / "Dockerfile").write_text(
        f"FROM {base}\nCOPY prometheus /bin/prometheus\n"
        "RUN mkdir /prometheus && chown 65534 /prometheus\nUSER 65534\n"
        'ENTRYPOINT ["/bin/prometheus"]\n'
    )
    docker("build", "--quiet", "--tag", OF_DEBIAN, str(folder))
    return OF_DEBIAN


def test_prometheus_finds_every_container_and_the_rules(tmp_path: Path) -> None:
    if reason := why_not():
        pytest.fail(f"make e2e needs containers: {reason}")
    port = str(free_port())
    url = f"http://{LOOPBACK}:{port}"
    variables = {"PROMETHEUS_IMAGE": prometheus_image(tmp_path), "PROMETHEUS_PORT": port}
    with running(**variables) as compose:
        # Only Prometheus: Grafana, of the same profile, comes from another registry.
        compose.run("--profile=monitoring", "up", "--detach", "prometheus")
        compose.scale(inference=3)
        expected = {str(PORTS[tier]): 3 if tier == "inference" else 1 for tier in TIERS}
        try:
            wait_until(lambda: scraped(url) == expected, "all", 120)
            load = Load(f"{compose.url}/inference", PICTURE, lambda _: True)
            with load.running():
                load.wait_for(20)
                rate = 'sum(rate(elastic_yolo_requests_total{route="/inference"}[30s]))'
                wait_until(lambda: any(value > 0 for value in ask(url, rate)), "a rate", 60)
            rules = httpx.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        finally:
            remove(compose, "prometheus")

    assert len([rule for group in rules for rule in group["rules"]]) > 15
    assert {rule["health"] for group in rules for rule in group["rules"]} == {"ok"}


def remove(compose: Compose, service: str) -> None:
    for container in compose.containers(service):
        docker("rm", "--force", container)


def scraped(url: str) -> dict[str, int]:
    """Return the number of healthy targets of Prometheus, by port."""
    try:
        found = httpx.get(f"{url}/api/v1/targets", params={"state": "active"}).json()
    except (httpx.TransportError, ValueError):
        return {}
    ports: dict[str, int] = {}
    for target in found["data"]["activeTargets"]:
        if target["health"] == "up":
            port = target["labels"]["instance"].rpartition(":")[2]
            ports[port] = ports.get(port, 0) + 1
    return ports


def test_a_model_of_ones_own_is_served_to_whoever_has_the_token() -> None:
    if reason := why_not():
        pytest.fail(f"make e2e needs containers: {reason}")
    token = "0123456789abcdef"  # noqa: S105  # of this test alone
    with running(MODEL_DIR=str(DEMO_MODEL), ACCESS_TOKEN=token) as compose:
        picture = {"image": PICTURE}
        refused = httpx.post(f"{compose.url}/inference", files=picture, timeout=30)
        answer = httpx.post(
            f"{compose.url}/inference",
            files=picture,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )
        (container,) = compose.containers("web")
        ports = inspect(container)["HostConfig"]["PortBindings"]

    assert refused.status_code == 401
    assert answer.status_code == 200
    # The name that the folder states, not that of the store.
    assert answer.json()["model"]["name"] == "yolov3-tiny-emoji"
    assert [one["HostIp"] for one in ports[f"{PORTS['web']}/tcp"]] == [LOOPBACK]


def test_locust_loads_the_pipeline_from_a_container() -> None:
    if reason := why_not():
        pytest.fail(f"make e2e needs containers: {reason}")
    port = str(free_port())
    page = f"http://{LOOPBACK}:{port}"
    with running(LOAD_PORT=port) as compose:
        compose.run("--profile=load", "up", "--detach", "load")
        try:
            wait_until(lambda: is_there(page), "locust's page is there", 60)
            swarm = {"user_count": "4", "spawn_rate": "4", "host": "http://web:5000"}
            httpx.post(f"{page}/swarm", data=swarm).raise_for_status()
            wait_until(lambda: requests(page)[0] > 40, "pictures are sent", 120)
            sent, failed = requests(page)
            httpx.post(f"{page}/stop").raise_for_status()
            (container,) = compose.containers("load")
            config = inspect(container)
        finally:
            remove(compose, "load")

    assert sent > 40
    assert failed == 0
    assert config["Config"]["User"] == "10001:10001"
    assert config["HostConfig"]["ReadonlyRootfs"] is True


def is_there(page: str) -> bool:
    try:
        return httpx.get(page).is_success
    except httpx.TransportError:
        return False


def requests(page: str) -> tuple[int, int]:
    """Return the number of pictures that locust has sent, and of failed ones."""
    rows = httpx.get(f"{page}/stats/requests").json()["stats"]
    (total,) = (row for row in rows if row["name"] == "Aggregated")
    return total["num_requests"], total["num_failures"]


def test_the_gpu_profile_is_the_same_service_on_a_gpu() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    gpu: dict[str, Any] = services["inference-gpu"]

    assert gpu["environment"] == {**services["inference"]["environment"], "DEVICE": "cuda"}
    assert gpu["networks"]["default"]["aliases"] == ["inference"]
    assert gpu["read_only"] is True
    Compose("elastic-yolo-config", 5000).run("--profile=gpu", "config", "--quiet")
