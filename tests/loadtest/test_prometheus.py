"""Replicas and CPU from a real Prometheus that scrapes the real services."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from elastic_yolo.lab.processes.stack import LOOPBACK, Stack, free_port
from elastic_yolo.lab.timeline import Sample, read_timeline
from elastic_yolo.tiers import TIERS
from loadtest.errors import LoadTestError
from loadtest.sources.prometheus import Prometheus, parse_matrix, to_samples
from tests.loadtest.running import run
from tests.support.monitoring import ask, needs_prometheus, prometheus
from tests.support.waiting import wait_until

# Metrics of the deployment with the names and labels of kube-state-metrics 2.x.
KUBE = """\
kube_deployment_status_replicas{namespace="elastic-yolo",deployment="inference"} 3
kube_deployment_status_replicas_ready{namespace="elastic-yolo",deployment="inference"} 2
kube_deployment_status_replicas{namespace="elsewhere",deployment="web"} 9
kube_horizontalpodautoscaler_status_desired_replicas{namespace="elastic-yolo",horizontalpodautoscaler="inference"} 4
kube_horizontalpodautoscaler_spec_target_metric{namespace="elastic-yolo",horizontalpodautoscaler="inference",metric_name="cpu",metric_target_type="utilization"} 70
kube_pod_container_resource_requests{namespace="elastic-yolo",pod="inference-a",container="inference",resource="cpu",unit="core"} 1
kube_pod_container_resource_requests{namespace="elastic-yolo",pod="inference-b",container="inference",resource="cpu",unit="core"} 1
kube_pod_container_resource_requests{namespace="elastic-yolo",pod="inference-b",container="inference",resource="memory",unit="byte"} 5e+08
"""  # noqa: E501  # a file format


def test_a_matrix_is_read_by_tier_and_time_without_nan() -> None:
    data = {
        "resultType": "matrix",
        "result": [
            {"metric": {"job": "web"}, "values": [[1764190000.5, "0.25"], [1764190001.5, "NaN"]]},
            {"metric": {"job": "inference"}, "values": [[1764190000.5, "2"]]},
        ],
    }

    assert parse_matrix(data, "job") == {
        "web": {1764190000.5: 0.25},
        "inference": {1764190000.5: 2},
    }


def test_cpu_is_in_per_cent_of_all_pods_cpu_requests() -> None:
    series = {
        "replicas": {"inference": {10.0: 3.0, 11.0: 3.0}},
        "ready": {"inference": {10.0: 2.0, 11.0: 3.0}},
        "desired": {"inference": {10.0: 4.0}},
        "target_percent": {"inference": {10.0: 70.0}},
        "cpu_s": {"inference": {10.0: 1.8}},
        "requested": {"inference": {10.0: 3.0}},
    }

    assert to_samples(series) == [
        Sample(10, "inference", 3, 2, 4, 70, pytest.approx(60), 1.8),
        Sample(11, "inference", 3, 3, 3, None),
    ]


def test_another_server_than_prometheus_is_an_error(demo_stack: Stack) -> None:
    with pytest.raises(LoadTestError, match=r"status 404, not a response of Prometheus"):
        Prometheus(demo_stack.web.url, "elastic-yolo").begin()


def test_an_unreachable_prometheus_is_an_error_without_its_password() -> None:
    url = f"http://me:secret@{LOOPBACK}:{free_port()}"

    with pytest.raises(LoadTestError) as raised:
        Prometheus(url, "elastic-yolo").begin()

    assert "secret" not in str(raised.value)


@pytest.mark.long
@needs_prometheus
def test_a_run_shows_the_cpu_that_prometheus_scrapes(demo_stack: Stack, tmp_path: Path) -> None:
    targets = {
        service.name: [service.url.removeprefix("http://")] for service in demo_stack.services
    }
    with prometheus(tmp_path, targets) as url:
        # A rate needs two scrapes.
        wait_until(lambda: len(ask(url, "irate(process_cpu_seconds_total[1m])")) == 3, "rates", 60)
        shape = ("--shape", "ramp", "--users", "5", "--duration", "8")
        done = run(tmp_path / "report", demo_stack.web.url, *shape, "--prometheus", url)

    assert done.status == 0, done.stderr
    samples = read_timeline(done.folder / "timeline.jsonl")
    assert {sample.tier for sample in samples} == set(TIERS)
    assert {(one.replicas, one.ready, one.desired) for one in samples} == {(1, 1, 1)}
    for tier in TIERS:
        used = [one.cpu_s for one in samples if one.tier == tier and one.cpu_s is not None]
        # More than nothing and less than any machine has.
        assert 0 < max(used) < 64
    assert "There are no kube_* metrics" in done.stdout
    assert (done.folder / "cpu.png").exists()


@pytest.fixture
def kube_state_metrics(tmp_path: Path) -> Iterator[str]:
    """Serve these metrics over HTTP; yields host and port."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "metrics").write_text(KUBE)
    server = ThreadingHTTPServer(
        (LOOPBACK, 0), partial(SimpleHTTPRequestHandler, directory=str(served))
    )
    with server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"{LOOPBACK}:{server.server_port}"
        server.shutdown()


@needs_prometheus
def test_with_kube_state_metrics_replicas_are_the_deployments(
    kube_state_metrics: str, tmp_path: Path
) -> None:
    """Without a cluster: its metrics come from a file, through a real Prometheus."""
    with prometheus(tmp_path, {"kube-state-metrics": [kube_state_metrics]}) as url:
        found = 'kube_deployment_status_replicas{deployment="inference"}'
        wait_until(lambda: len(ask(url, found)) == 1, "Prometheus has scraped", 60)
        source = Prometheus(url, "elastic-yolo")
        source.begin()
        now = time.time()
        samples = source.end(now - 1, now + 1)

    assert samples
    assert {sample.tier for sample in samples} == {"inference"}
    newest = samples[-1]
    assert (newest.replicas, newest.ready, newest.desired) == (3, 2, 4)
    assert newest.target_percent == 70
    assert source.notes() == []
