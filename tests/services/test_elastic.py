"""Real services that come, go and die under load: nothing is lost and nothing is answered wrong."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from bench.pipeline.elastic import answered
from elastic_yolo.lab.processes.stack import Service, Stack
from tests.support.load import Load
from tests.support.pictures import encode, plain
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

JPEG = encode(plain(64, 48), "JPEG")


def is_right(answer: httpx.Response) -> bool:
    return bool(answer.json()["data"][0][0] == "square")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[dict[str, Service]]:
    """One web, one preprocess, and three inference processes of which only the first runs."""
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


def test_from_one_process_to_three_and_back(services: dict[str, Service]) -> None:
    """New ones take their share; those that stop finish what they have."""
    load = Load(f"{services['web'].url}/inference", JPEG, is_right)
    with load.running(), ExitStack() as extra:
        load.wait_for(50)
        new = [extra.enter_context(services[name]) for name in ("second", "third")]
        for service in new:
            service.wait_ready()
        wait_until(lambda: all(answered(service) > 20 for service in new), "they take part")
        before = [answered(service) for service in (services["first"], *new)]
        load.wait_for(300)
        after = [answered(service) for service in (services["first"], *new)]
        assert [service.stop() for service in new] == [0, 0]
        load.wait_for(50)

    assert set(load.statuses) == {200}
    shares = [later - earlier for earlier, later in zip(before, after, strict=True)]
    assert min(shares) > sum(shares) / 6, shares


def test_one_that_is_killed_takes_nothing_with_it(services: dict[str, Service]) -> None:
    load = Load(f"{services['web'].url}/inference", JPEG, is_right)
    with services["second"] as second, services["third"] as third, load.running():
        for service in (second, third):
            service.wait_ready()
            wait_until(lambda: answered(service) > 20, "it takes part")  # noqa: B023
        third.process.send_signal(signal.SIGKILL)
        load.wait_for(200)

    assert set(load.statuses) == {200}


def test_a_restart_one_after_the_other_loses_nothing(services: dict[str, Service]) -> None:
    load = Load(f"{services['web'].url}/inference", JPEG, is_right)
    with services["second"] as second:
        second.wait_ready()
        with load.running():
            wait_until(lambda: answered(second) > 20, "it takes part")
            for name in ("first", "second"):
                assert services[name].stop() == 0
                load.wait_for(30)
                services[name].__enter__()
                services[name].wait_ready()
                wait_until(lambda: answered(services[name]) > 20, "it is back")  # noqa: B023
                load.wait_for(30)

    assert set(load.statuses) == {200}
