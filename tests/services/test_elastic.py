"""Real inference services that start, stop and crash under load: every response stays right."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bench.pipeline.scaling import answered
from elastic_yolo.lab.processes.stack import Service, Stack
from tests.support.load import Load
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")
# For events that happen as soon as the machine gets to them, however busy it is.
PATIENCE_S = 60


def is_right(response: httpx.Response) -> bool:
    return bool(response.json()["data"][0][0] == "square")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[dict[str, Service]]:
    """One web, one preprocess, and three inference services of which only the first runs."""
    stack = Stack(model=write_tiny_model(tmp_path / "model"), logs=tmp_path, copies=3)
    first = (stack.inference, stack.preprocess, stack.web)
    second, third = stack.copies
    with ExitStack() as running:
        for service in first:
            running.enter_context(service)
        for service in first:
            service.wait_ready()
        yield {
            "first": stack.inference,
            "second": second,
            "third": third,
            "preprocess": stack.preprocess,
            "web": stack.web,
        }


@pytest.fixture
def load(services: dict[str, Service]) -> Load:
    return Load(f"{services['web'].url}/inference", JPEG, is_right)


def wait_for_requests(service: Service) -> None:
    """Wait until a service that has just started has responded to more than 20 requests."""
    service.wait_ready()
    wait_until(lambda: answered(service) > 20, f"{service.url} gets requests", PATIENCE_S)


def test_scaling_from_one_to_three_and_back_loses_no_request(
    services: dict[str, Service], load: Load
) -> None:
    """New endpoints get their share; those that stop finish what they have."""
    with load.running(), ExitStack() as extra:
        load.wait_for(50)
        new = [extra.enter_context(services[name]) for name in ("second", "third")]
        for service in new:
            wait_for_requests(service)
        before = [answered(service) for service in (services["first"], *new)]
        load.wait_for(300)
        after = [answered(service) for service in (services["first"], *new)]
        assert [service.stop() for service in new] == [0, 0]
        load.wait_for(50)

    assert set(load.statuses) == {200}
    shares = [later - earlier for earlier, later in zip(before, after, strict=True)]
    assert min(shares) > sum(shares) / 6, shares


def test_a_killed_endpoint_loses_no_request(services: dict[str, Service], load: Load) -> None:
    with services["second"] as second, services["third"] as third, load.running():
        for service in (second, third):
            wait_for_requests(service)
        third.process.send_signal(signal.SIGKILL)
        load.wait_for(200)

    assert set(load.statuses) == {200}


@pytest.mark.long
def test_a_rolling_restart_loses_no_request(services: dict[str, Service], load: Load) -> None:
    with services["second"] as second:
        second.wait_ready()
        with load.running():
            wait_for_requests(second)
            for name in ("first", "second"):
                assert services[name].stop() == 0
                load.wait_for(30)
                services[name].__enter__()
                wait_for_requests(services[name])
                load.wait_for(30)

    assert set(load.statuses) == {200}
