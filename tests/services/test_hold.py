"""Requests wait while the next service has no endpoint, within limits, and then go on."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from elastic_yolo.lab.processes.stack import free_port
from services.common.observe.telemetry import Metrics
from services.common.peer.hold import Absence, Hold, HoldFull, HoldLimits
from services.common.request.errors import RemoteProblem, Unavailable
from tests.support.clock import Clock
from tests.support.misbehaving import (
    PATIENCE_S,
    Call,
    Server,
    echo,
    reset_without_response,
    respond,
    until,
)
from tests.support.peering import Downstream, context, start_downstream, start_peer

pytestmark = pytest.mark.anyio

GENEROUS = HoldLimits(longest_s=PATIENCE_S, most_requests=100, most_bytes=1_000_000)


@dataclass
class Away:
    """A service without an endpoint, whose address is known."""

    downstream: Downstream
    server: Server

    def start_sending(self, text: str, budget_ms: float = PATIENCE_S * 1000) -> asyncio.Task[str]:
        return asyncio.create_task(self.downstream.send(text, budget_ms, may_be_held=True))

    def held(self) -> float | None:
        """Return the exported number of held requests."""
        registry = self.downstream.metrics.registry
        return registry.get_sample_value("elastic_yolo_requests_held", {"service": "test"})

    def ended(self, result: str) -> float | None:
        """Return the exported number of requests whose hold ended so."""
        return self.downstream.metrics.registry.get_sample_value(
            "elastic_yolo_held_requests_total",
            {"service": "test", "peer": "inference", "result": result},
        )

    async def wait_held(self, count: int) -> None:
        await until(lambda: self.held() == count, f"{count} requests are held")


@asynccontextmanager
async def away(limits: HoldLimits = GENEROUS) -> AsyncIterator[Away]:
    server = Server("127.0.0.2", echo, free_port())
    async with start_peer(server.url, limits) as downstream:
        yield Away(downstream, server)


async def test_held_requests_go_on_when_an_endpoint_is_ready_in_the_order_of_their_arrival() -> (
    None
):
    async with away() as service:
        requests = []
        for number in range(20):
            requests.append(service.start_sending(f"picture {number}"))
            await service.wait_held(number + 1)
        service.server.ready = False
        async with service.server.running():
            await until(lambda: service.server.probes >= 3, "it is probed")
            assert (service.held(), service.server.calls) == (20, [])
            service.server.ready = True
            results = await asyncio.gather(*requests)

        assert results == [f"picture {number}" for number in range(20)]
        received = [call.body.decode() for call in service.server.calls]
        assert sorted(received) == sorted(results)
        assert (service.held(), service.ended("sent")) == (0, 20)


async def test_a_request_that_is_lost_with_the_only_endpoint_is_held_and_sent_again() -> None:
    async with away() as service, service.server.running():
        assert await service.downstream.send("first") == "first"
        service.server.behaviour = reset_without_response
        service.server.ready = False
        lost = service.start_sending("second")
        await service.wait_held(1)
        service.server.behaviour = echo
        service.server.ready = True
        assert await lost == "second"


async def test_while_requests_are_held_others_join_them_without_an_attempt() -> None:
    async with away() as service:
        first = service.start_sending("first")
        await service.wait_held(1)
        failures = service.downstream.total("failures")
        others = [service.start_sending("other") for _ in range(5)]
        await service.wait_held(6)
        assert service.downstream.total("failures") == failures
        for task in (first, *others):
            task.cancel()
        await service.wait_held(0)
        assert service.ended("cancelled") == 6


async def test_a_request_that_is_held_for_its_longest_time_ends_with_503() -> None:
    limits = HoldLimits(longest_s=0.1, most_requests=10, most_bytes=1_000)
    async with away(limits) as service:
        with pytest.raises(Unavailable, match="the inference service cannot be reached"):
            await service.start_sending("picture")
        assert (service.held(), service.ended("expired")) == (0, 1)


async def test_a_request_is_held_no_longer_than_its_deadline_allows() -> None:
    async with away() as service:
        with pytest.raises(Unavailable, match="the inference service cannot be reached"):
            await service.start_sending("picture", budget_ms=200)
        assert service.ended("expired") == 1


@pytest.mark.parametrize(
    ("limits", "size"),
    [
        (HoldLimits(PATIENCE_S, most_requests=3, most_bytes=1_000_000), 10),
        (HoldLimits(PATIENCE_S, most_requests=100, most_bytes=300), 100),
        # Of four, the last is one byte too large.
        (HoldLimits(PATIENCE_S, most_requests=100, most_bytes=399), 100),
    ],
    ids=["requests", "bytes", "one byte"],
)
async def test_what_is_beyond_a_limit_is_refused_at_once(limits: HoldLimits, size: int) -> None:
    async with away(limits) as service:
        held = [service.start_sending("x" * size) for _ in range(3)]
        await service.wait_held(3)
        with pytest.raises(Unavailable, match=rf"3 requests of {3 * size} bytes wait for it"):
            await service.start_sending("x" * size)
        assert (service.held(), service.ended("refused")) == (3, 1)
        # A place that becomes free can be taken.
        held[0].cancel()
        await service.wait_held(2)
        again = service.start_sending("x" * size)
        await service.wait_held(3)
        async with service.server.running():
            assert await again == "x" * size
            await asyncio.gather(*held[1:])


async def test_with_hold_s_0_and_for_other_requests_than_pictures_nothing_is_held() -> None:
    off = HoldLimits(longest_s=0, most_requests=10, most_bytes=1_000)
    for limits, may_be_held in ((off, True), (GENEROUS, False)):
        async with away(limits) as service:
            with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                await service.downstream.send(may_be_held=may_be_held)
            assert (service.held(), service.ended("sent")) == (0, 0)
            assert service.downstream.sample("reachable") == 0
            async with service.server.running():
                await until(lambda: service.downstream.sample("reachable") == 1, "it is found")


async def test_a_request_that_ends_three_endpoints_is_not_sent_again() -> None:
    """It may be the reason. Each endpoint that gets it is ready again at once."""
    async with away() as service:
        service.server.behaviour = reset_without_response
        async with service.server.running():
            with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                await service.start_sending("poison")
        # Three, and one more for each connection that was kept from a probe: if that ends at once,
        # the request is sent again on a new one.
        assert 3 <= len(service.server.calls) <= 5


async def test_held_requests_go_on_eight_at_a_time() -> None:
    """The endpoint that is ready first would refuse more than its memory holds."""
    answer = asyncio.Event()

    async def echo_later(call: Call) -> None:
        await answer.wait()
        await echo(call)

    async with away() as service:
        service.server.behaviour = echo_later
        requests = [service.start_sending(f"{number}") for number in range(30)]
        await service.wait_held(30)
        async with service.server.running():
            await service.wait_held(22)
            await until(lambda: len(service.server.calls) == 8, "eight are under way")
            # Callers that leave give their turns back, also those that wait for one.
            for request in (*requests[:8], requests[10]):
                request.cancel()
            await service.wait_held(13)
            answer.set()
            results = await asyncio.gather(*requests, return_exceptions=True)
        assert [text for text in results if isinstance(text, str)] == [
            f"{number}" for number in range(8, 30) if number != 10
        ]
        assert service.held() == 0


async def test_the_time_of_vain_attempts_to_connect_is_part_of_the_longest_hold() -> None:
    """Nothing responds at the address of a container that was removed: each takes 2 s."""
    limits = HoldLimits(longest_s=3, most_requests=10, most_bytes=1_000)
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.2", port)):
            async with start_peer(f"http://127.0.0.2:{port}", limits) as downstream:
                sent = context()
                sent.may_be_held = True
                with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                    await downstream.peer.send(sent, "POST", "/x", content=[b"picture"])
    held_ms = dict(sent.timings.own_phases())["test_hold"]
    assert held_ms < limits.longest_s * 1000


async def test_an_endpoint_that_is_never_ready_but_serves_gets_what_was_held_in_vain() -> None:
    """As Triton, which is not ready while any of its models is not."""
    limits = HoldLimits(longest_s=0.5, most_requests=10, most_bytes=1_000)
    async with away(limits) as service:
        service.server.ready = False
        with pytest.raises(Unavailable):
            await service.downstream.send("it is away")
        async with service.server.running():
            assert await service.start_sending("first") == "first"
            assert service.ended("expired") == 1
            # The service is no longer absent: nothing waits.
            assert service.downstream.sample("reachable") == 1
            assert await service.start_sending("second") == "second"
            assert service.ended("expired") == 1


async def test_what_one_endpoint_has_held_in_vain_is_not_held_by_another() -> None:
    held = respond(503, "Server-Timing: preprocess;dur=10010.00, preprocess_hold;dur=10000.00")
    async with start_downstream(held, held) as (downstream, servers):
        with pytest.raises(RemoteProblem):
            await downstream.send()
        assert sum(len(server.calls) for server in servers) == 1


async def test_a_request_goes_on_at_an_endpoint_that_serves_while_others_are_gone() -> None:
    gone = [f"http://127.0.0.{number}" for number in (3, 4, 5, 6)]
    async with away() as service, service.server.running():
        port = service.server.port
        urls = ",".join([service.server.url, *(f"{url}:{port}" for url in gone)])
        async with start_peer(urls, GENEROUS) as downstream:
            sent = [downstream.send(f"{number}", may_be_held=True) for number in range(20)]
            assert await asyncio.gather(*sent) == [f"{number}" for number in range(20)]


async def test_the_fallback_gets_requests_only_while_no_other_endpoint_responds() -> None:
    """As a Service with a ClusterIP: it reaches new pods that a cached name does not have yet."""
    port = free_port()
    named, fallback = (Server(f"127.0.0.{number}", echo, port) for number in (2, 3))
    downstream = Downstream(named.url, hold_limits=GENEROUS, fallback_urls=fallback.url)
    downstream.peer.start()
    try:
        async with fallback.running():
            async with named.running():
                await downstream.send_each(20)
                assert (len(named.calls), len(fallback.calls)) == (20, 0)
            await downstream.send_each(20)
            assert (len(named.calls), len(fallback.calls)) == (20, 20)
            assert (downstream.count("serving"), downstream.sample("reachable")) == (0, 1)
            async with named.running():
                await until(lambda: downstream.count("serving") == 1, "it returns")
                await downstream.send_each(20)
                assert (len(named.calls), len(fallback.calls)) == (40, 20)
        held = asyncio.create_task(downstream.send("held", may_be_held=True))
        await until(lambda: downstream.sample("reachable") == 0, "nothing responds")
        async with fallback.running():
            assert await held == "held"
    finally:
        downstream.peer.close()


async def test_a_503_is_not_tried_again_at_the_fallback() -> None:
    """That leads to the same endpoints."""
    port = free_port()
    named, fallback = (Server(f"127.0.0.{number}", respond(503), port) for number in (2, 3))
    downstream = Downstream(named.url, fallback_urls=fallback.url)
    downstream.peer.start()
    async with named.running(), fallback.running():
        with pytest.raises(RemoteProblem):
            await downstream.send()
        assert (len(named.calls), len(fallback.calls)) == (1, 0)
    downstream.peer.close()


def test_the_time_to_try_again_is_what_is_left_of_the_last_absence() -> None:
    clock = Clock()
    absence = Absence(clock)
    assert absence.begin()
    assert not absence.begin()
    assert absence.retry_after_s() == 1
    clock.now += 8
    # Of the first one only its age is known.
    assert absence.retry_after_s() == 8
    assert absence.end() == 8
    assert absence.end() is None
    clock.now += 100
    absence.begin()
    assert absence.retry_after_s() == 8
    clock.now += 5
    assert absence.retry_after_s() == 3
    clock.now += 5
    assert absence.retry_after_s() == 10
    clock.now += 1000
    assert absence.retry_after_s() == 60


def test_the_working_clock_stands_still_while_requests_wait_for_an_endpoint() -> None:
    clock = Clock()
    hold = Hold(GENEROUS, Metrics("test"), clock)
    ends: list[str] = []
    began = hold.working_clock()
    clock.now += 3
    with hold.keep(1, ends.append):
        with hold.stop_clock():
            clock.now += 10
            with hold.stop_clock():
                clock.now += 10
                assert hold.working_clock() == began + 3
        # It waits for its turn, behind others that are under way.
        clock.now += 2
        assert hold.working_clock() == began + 5
    with hold.stop_clock():
        clock.now += 7
    assert math.isclose(hold.working_clock(), began + 5)


def test_a_request_larger_than_all_may_be_is_never_held() -> None:
    hold = Hold(HoldLimits(1, most_requests=10, most_bytes=100), Metrics("test"))
    ends: list[str] = []
    with pytest.raises(HoldFull, match="0 requests of 0 bytes"), hold.keep(101, ends.append):
        pass
    assert ends == ["refused"]
