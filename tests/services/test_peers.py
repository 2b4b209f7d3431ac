"""Requests to a service of several endpoints, over real sockets, while some of them misbehave."""

from __future__ import annotations

import asyncio
import socket

import pytest

from services.common.request.errors import DeadlineExceeded, RemoteProblem, Unavailable
from tests.support.misbehaving import (
    PATIENCE_S,
    Behaviour,
    Call,
    Server,
    close_within_response,
    echo,
    hang_within_response,
    hang_without_response,
    reset_within_response,
    reset_without_response,
    respond,
    response,
    send_endless_head,
    speak_smtp,
    switch_protocols,
    until,
)
from tests.support.peering import context, start_downstream, start_peer, start_servers

pytestmark = pytest.mark.anyio


def count_calls(servers: list[Server]) -> int:
    return sum(len(server.calls) for server in servers)


async def test_requests_are_balanced_and_connections_are_reused() -> None:
    async with start_downstream(echo, echo, echo) as (downstream, servers):
        await downstream.send_each(90)

        assert all(len(server.calls) > 10 for server in servers)
        # One for the first probe, perhaps, and one for everything else.
        assert all(len(server.connections) <= 2 for server in servers)


async def test_the_request_id_and_the_deadline_are_sent_as_headers() -> None:
    async with start_downstream(echo) as (downstream, (server,)):
        await downstream.peer.send(context(60_000), "POST", "/x", params={"model": "a b&c"})

    head = server.calls[0].head
    assert head.startswith("POST /x?model=a+b%26c HTTP/1.1\r\n")
    assert "x-request-id: " + "0" * 32 in head
    assert f"host: 127.0.0.2:{server.port}" in head
    budget_ms = int(head.partition("x-timeout-ms: ")[2].partition("\r\n")[0])
    assert 30_000 < budget_ms <= 60_000


@pytest.mark.parametrize(
    "misbehave",
    [
        reset_without_response,
        reset_within_response,
        close_within_response,
        speak_smtp,
        send_endless_head,
        switch_protocols,
        respond(503),
    ],
)
async def test_a_request_that_fails_is_retried_at_another_endpoint(misbehave: Behaviour) -> None:
    """No request is lost, no response is wrong, and the bad endpoint is ejected after that."""
    async with start_downstream(misbehave, echo) as (downstream, (bad, good)):
        # So that it stays ejected, however long this takes.
        bad.ready = False
        await downstream.send_each(30)

        assert len(bad.calls) == 1
        assert len(good.calls) == 30
        assert downstream.total("retries") == 1
        assert downstream.count("ejected") == 1


async def test_requests_with_affinity_go_to_one_endpoint_while_it_serves() -> None:
    async with start_downstream(echo, echo) as (downstream, servers):
        peer = downstream.peer.with_affinity()
        for _ in range(20):
            await peer.send(context(), "POST", "/x", content=[b"1"])
        first, other = sorted(servers, key=lambda server: -len(server.calls))
        assert (len(first.calls), len(other.calls)) == (20, 0)
        first.behaviour = reset_without_response
        for _ in range(20):
            await peer.send(context(), "POST", "/x", content=[b"1"])
        assert len(first.calls) <= 22  # one more, and perhaps again on a new connection
        assert len(other.calls) == 20


async def test_each_affinity_chooses_its_own_endpoint() -> None:
    async with start_downstream(echo, echo) as (downstream, servers):
        for _ in range(40):
            await downstream.peer.with_affinity().send(context(), "POST", "/x", content=[b"1"])

        assert all(len(server.calls) >= 5 for server in servers)


async def test_a_draining_endpoint_keeps_the_requests_with_affinity_to_it() -> None:
    """What it has just reported about itself may not hold for other endpoints."""

    async def drain(call: Call) -> None:
        await call.write(response(200, '"bye"', "Connection: close"))

    async with start_downstream(drain, drain) as (downstream, servers):
        peer = downstream.peer.with_affinity()
        for _ in range(5):
            await peer.send(context(), "POST", "/x", content=[b"1"])

        assert sorted(len(server.calls) for server in servers) == [0, 5]


async def test_an_endpoint_that_refuses_connections_loses_no_requests() -> None:
    async with start_servers(echo) as (server,):
        urls = f"http://127.0.0.9:{server.port},{server.url}"
        async with start_peer(urls) as downstream:
            await downstream.send_each(30)


@pytest.mark.parametrize("code", [400, 404, 413, 415, 422, 429, 504])
async def test_an_error_about_the_request_keeps_its_status_without_a_retry(code: int) -> None:
    bad = respond(code, "Retry-After: 7")
    async with start_downstream(bad, bad) as (downstream, servers):
        with pytest.raises(RemoteProblem, match=f"d{code}") as problem:
            await downstream.send()

        assert problem.value.status == code
        assert problem.value.retry_after == "7"
        assert count_calls(servers) == 1
        assert downstream.count("ejected") == 0


async def test_an_internal_error_of_the_next_service_becomes_unavailable() -> None:
    async with start_downstream(respond(500)) as (downstream, servers):
        with pytest.raises(Unavailable, match="the inference service failed"):
            await downstream.send()

        assert count_calls(servers) == 1


@pytest.mark.parametrize("hang", [hang_without_response, hang_within_response])
async def test_a_request_whose_deadline_passes_is_not_retried(hang: Behaviour) -> None:
    async with start_downstream(hang, hang) as (downstream, servers):
        await downstream.peer.check_ready()
        with pytest.raises(DeadlineExceeded, match="did not answer in time"):
            await downstream.send(budget_ms=1000)

        assert count_calls(servers) == 1


async def test_a_deadline_that_passes_does_not_eject_the_endpoint() -> None:
    async with start_downstream(hang_within_response) as (downstream, (server,)):
        with pytest.raises(DeadlineExceeded):
            await downstream.send(budget_ms=100)
        server.behaviour = echo
        await downstream.send_each(1)

        assert downstream.count("ejected") == 0
        assert downstream.total("failures") == 0


async def test_a_request_is_retried_only_once() -> None:
    async with start_downstream(*[respond(503)] * 3) as (downstream, servers):
        with pytest.raises(RemoteProblem, match="d503"):
            await downstream.send()

        assert count_calls(servers) == 2


async def test_retries_stop_when_their_budget_is_spent() -> None:
    """Of 1,000 requests that all fail, a hundred and a fifth of the rest are retried."""
    async with start_downstream(respond(503), respond(503)) as (downstream, servers):
        for _ in range(1000):
            with pytest.raises(RemoteProblem):
                await downstream.send()

        assert 1250 <= count_calls(servers) <= 1300


async def test_a_frozen_endpoint_is_ejected_and_its_requests_are_retried() -> None:
    """It accepts connections, but responds to nothing, not even to probes."""
    async with start_servers(echo) as (server,):
        # The kernel accepts connections for a socket that listens; no process reads from them.
        with socket.create_server(("127.0.0.8", server.port)):
            async with start_peer(f"http://127.0.0.8:{server.port},{server.url}") as downstream:
                texts = [str(number) for number in range(20)]
                assert await asyncio.gather(*map(downstream.send, texts)) == texts
                assert downstream.total("ejections") == 1


async def test_an_ejected_endpoint_gets_requests_again_when_it_recovers() -> None:
    async with start_downstream(respond(503), echo) as (downstream, (bad, _)):
        await downstream.send_each(10)
        before = len(bad.calls)
        bad.behaviour = echo
        async with asyncio.timeout(PATIENCE_S):
            while len(bad.calls) == before:
                await downstream.send()


async def test_a_slow_endpoint_that_responds_to_probes_is_waited_for() -> None:
    """Even if it only responds that it is not ready: the request is not retried."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        await release.wait()
        await echo(call)

    async with start_downstream(hold, hold) as (downstream, servers):
        sending = asyncio.create_task(downstream.send())
        await arrived.wait()
        slow = next(server for server in servers if server.calls)
        slow.ready = False
        await until(lambda: slow.probes >= 3, "it gets three liveness probes")
        release.set()
        assert await sending == "picture"

        assert count_calls(servers) == 1
        assert downstream.count("ejected") == 0


async def test_a_draining_endpoint_gets_no_new_requests_and_no_failure() -> None:
    async def drain(call: Call) -> None:
        await call.write(response(200, f'"{call.body.decode()}"', "Connection: Close"))
        call.writer.close()

    async with start_downstream(drain, echo) as (downstream, (draining, _)):
        await downstream.send_each(30)

        assert len(draining.calls) == 1
        assert downstream.count("leaving") == 1
        assert downstream.total("failures") == 0


async def test_a_service_is_ready_if_one_endpoint_is() -> None:
    async with start_downstream(echo, echo) as (downstream, servers):
        servers[0].ready = False
        await downstream.peer.check_ready()
        servers[1].ready = False
        with pytest.raises(Unavailable, match="not ready"):
            await downstream.peer.check_ready()


async def test_readiness_does_not_wait_for_an_endpoint_that_is_slow() -> None:
    """Here it responds only after the other has been probed as well."""
    async with start_downstream(echo, echo) as (downstream, (slow, other)):
        other_probed = asyncio.Event()

        async def note() -> None:
            other_probed.set()

        slow.before_probe, other.before_probe = other_probed.wait, note
        other.ready = False
        for _ in range(10):
            other_probed.clear()
            await downstream.peer.check_ready()
