"""Every 503 says when to try again."""

from __future__ import annotations

import json
import math
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from elastic_yolo.lab.processes.stack import Service, free_port
from services.common.core.probes import Phase, Readiness
from services.common.core.problems import problem_response
from services.common.peer.addresses import Address
from services.common.peer.endpoints import EJECTION_S, Endpoints
from services.common.request.errors import RemoteProblem, Unavailable
from tests.support.clock import Clock
from tests.support.misbehaving import respond
from tests.support.peering import context, start_downstream
from tests.support.raw import connected
from tests.support.waiting import wait_until


def retry_after(error: Exception) -> str | None:
    return problem_response(error, "0" * 32).headers.get("retry-after")


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (-3.0, "1"), (1.0, "1"), (1.01, "2"), (29.5, "30")]
)
def test_it_is_in_whole_seconds_from_one_on(seconds: float, header: str) -> None:
    assert retry_after(Unavailable("why", seconds)) == header
    assert retry_after(Unavailable("why")) == "1"


@pytest.mark.parametrize(
    ("status", "stated", "header"),
    [
        (503, "17", "17"),
        (503, None, "1"),
        (503, "Wed, 21 Oct 2026 07:28:00 GMT", "1"),
        (503, "-5", "1"),
        (429, "3", "3"),
        (429, None, "1"),
        (404, None, None),
    ],
)
def test_that_of_the_next_service_is_kept(status: int, stated: str | None, header: str) -> None:
    assert retry_after(RemoteProblem(status, "title", "detail", stated)) == header


def test_a_process_that_starts_is_tried_again_soon_and_one_that_drains_when_it_is_gone() -> None:
    readiness = Readiness()
    with pytest.raises(Unavailable) as starting:
        readiness.require()
    readiness.begin_drain(30)
    with pytest.raises(Unavailable) as draining:
        readiness.require()

    assert starting.value.retry_after_s == 1
    assert str(draining.value) == "this service is draining"
    assert 25 < draining.value.retry_after_s <= 30
    assert readiness.phase is Phase.DRAINING


def test_ejected_endpoints_are_tried_again_when_the_first_ejection_ends() -> None:
    clock = Clock()
    endpoints = Endpoints(clock)
    addresses = [Address("http", f"127.0.0.{number}", 80, "peer") for number in (2, 3)]
    assert endpoints.seconds_to_probe() == 0
    endpoints.update(addresses)
    first, second = endpoints.known.values()
    for endpoint in (first, second):
        endpoints.record_success(endpoint)
    for _ in range(3):
        endpoints.record_failure(first)
        assert endpoints.seconds_to_probe() == 0  # the second one serves
        assert first.ejected_until is not None
        clock.now = first.ejected_until
    endpoints.record_failure(first)
    endpoints.record_failure(second)

    assert first.ejected_until == clock.now + 8 * EJECTION_S
    # All are ejected: the last one for a short time.
    assert endpoints.seconds_to_probe() == EJECTION_S
    clock.now += 0.25
    assert endpoints.seconds_to_probe() == EJECTION_S - 0.25
    clock.now += 60
    assert endpoints.seconds_to_probe() == 0


@pytest.mark.anyio
async def test_a_failing_service_is_tried_again_after_its_ejection() -> None:
    async with start_downstream(respond(500)) as (downstream, (server,)):
        server.ready = False
        with pytest.raises(Unavailable) as failed:
            await downstream.peer.send(context(), "POST", "/x")

    assert 0 <= failed.value.retry_after_s <= EJECTION_S


@pytest.mark.anyio
async def test_a_503_of_the_next_service_passes_on_its_retry_after() -> None:
    async with start_downstream(respond(503, "Retry-After: 23")) as (downstream, _):
        with pytest.raises(RemoteProblem) as refused:
            await downstream.peer.send(context(), "POST", "/x")

    assert retry_after(refused.value) == "23"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Service]:
    """A web service whose next service does not exist."""
    log = tmp_path / "log"
    settings = {
        "PREPROCESS_URL": "http://127.0.0.1:1",
        "MAX_CONNECTIONS": "4",
        "DRAIN_DELAY_S": "600",
        "DRAIN_TIMEOUT_S": "10",
    }
    with Service("web", free_port(), settings, log) as service:
        wait_until(lambda: log.exists() and '"listening"' in log.read_text(), "it listens")
        yield service
        # It has been told to drain: this ends the delay.
        service.process.send_signal(signal.SIGINT)


def test_over_http(web: Service) -> None:
    picture = {"content": b"\xff\xd8\xff", "headers": {"Content-Type": "image/png"}}
    away = httpx.get(f"{web.url}/readyz")
    status = httpx.get(f"{web.url}/health/status")
    connections = [socket.create_connection(("127.0.0.1", web.port)) for _ in range(4)]
    with connected(web) as fifth:
        full = fifth.read_response()
    for connection in connections:
        connection.close()
    wait_until(lambda: _answers(web), "connections are free")
    web.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "draining" in httpx.get(f"{web.url}/readyz").text, "it drains")
    draining = httpx.get(f"{web.url}/readyz")

    assert httpx.post(f"{web.url}/inference", **picture).status_code == 422  # type: ignore[arg-type]
    assert (away.status_code, status.status_code, full.status) == (503, 503, 503)
    assert json.loads(full.body)["detail"].startswith("more than 4 connections are open")
    for headers in (away.headers, status.headers, full.headers):
        assert headers["retry-after"] == "1"
    assert 500 < int(draining.headers["retry-after"]) <= math.ceil(610)


def _answers(web: Service) -> bool:
    try:
        return httpx.get(f"{web.url}/livez").status_code == 200
    except httpx.TransportError:
        return False
