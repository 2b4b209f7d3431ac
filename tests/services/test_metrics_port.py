"""With METRICS_PORT, metrics are on a port of their own and on no other; probes are on both."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, Stack, free_port
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until


def test_metrics_of_all_services_are_on_their_ports_only(tmp_path: Path) -> None:
    ports = {name: free_port() for name in ("web", "preprocess", "inference")}
    env = {name: {"METRICS_PORT": str(port)} for name, port in ports.items()}
    with Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, env=env) as stack:
        answer = httpx.post(
            f"{stack.web.url}/inference", files={"image": encode(plain(64, 48), "JPEG")}
        )
        for service in stack.services:
            metrics = f"http://127.0.0.1:{ports[service.name]}"
            scraped = httpx.get(f"{metrics}/metrics")

            assert scraped.status_code == 200
            assert f'elastic_yolo_requests_total{{method="' in scraped.text  # noqa: F541
            assert httpx.get(f"{service.url}/metrics").status_code == 404
            assert "/metrics" not in httpx.get(f"{service.url}/openapi.json").json()["paths"]
            for path in ("/livez", "/health/ping"):
                assert httpx.get(f"{metrics}{path}").status_code == 200
            for path in ("/health/status", "/", "/inference", "/openapi.json", "/docs"):
                elsewhere = httpx.get(f"{metrics}{path}")
                assert elsewhere.status_code == 404
                assert elsewhere.headers["content-type"] == "application/problem+json"

    assert answer.status_code == 200


def test_a_port_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "METRICS_PORT": str(port)}
        with Service("web", free_port(), settings, tmp_path / "log") as web:
            status = web.process.wait(60)

    assert status == 1
    where = f"127.0.0.1, port {port}"
    said = f"METRICS_PORT: cannot listen on {where}: Address already in use"
    assert said in (tmp_path / "log").read_text()


@pytest.mark.parametrize("value", ["5000", "x", "70000"])
def test_an_invalid_port_stops_the_start(tmp_path: Path, value: str) -> None:
    settings = {"PREPROCESS_URL": "http://127.0.0.1:1", "METRICS_PORT": value}
    with Service("web", 5000, settings, tmp_path / "log") as web:
        assert web.process.wait(60) == 2

    assert (tmp_path / "log").read_text().startswith("METRICS_PORT: ")


def test_the_port_is_open_as_long_as_the_service_serves(tmp_path: Path) -> None:
    """The last pictures of a drain are counted, too."""
    log = tmp_path / "log"
    port = free_port()
    settings = {
        "PREPROCESS_URL": "http://127.0.0.1:1",
        "METRICS_PORT": str(port),
        "DRAIN_DELAY_S": "600",
    }
    with Service("web", free_port(), settings, log) as web:
        wait_until(lambda: log.exists() and "for metrics" in log.read_text(), "it listens")
        web.process.terminate()
        wait_until(lambda: '"draining"' in log.read_text(), "it drains")
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
        web.process.terminate()
        assert web.process.wait(60) == 0
