"""Asking a service of several processes, over real sockets, when some of them misbehave."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from services.common.observe.telemetry import Metrics
from services.common.peer import Affinity, Peer
from services.common.request.errors import DeadlineExceeded, RemoteProblem, Unavailable
from tests.support.misbehaving import Behaviour, Call, Server, answer, until
from tests.support.peering import (
    ask,
    change_of_protocol,
    context,
    end_inside_the_answer,
    endless_head,
    good,
    hang_inside_the_answer,
    no_http,
    reset_at_once,
    reset_inside_the_answer,
    status,
    with_peer,
)


def test_requests_are_spread_over_all_processes_and_connections_are_kept() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        assert [await ask(peer, str(n)) for n in range(90)] == [str(n) for n in range(90)]
        assert all(len(server.calls) > 10 for server in servers)
        # One for the first probe, perhaps, and one for everything else.
        assert all(len(server.connections) <= 2 for server in servers)

    with_peer(scenario, good, good, good)


def test_identity_and_budget_travel_in_the_head() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        await peer.send(context(5000), "POST", "/x", params={"model": "a b&c"})
        head = servers[0].calls[0].head
        assert head.startswith("POST /x?model=a+b%26c HTTP/1.1\r\n")
        assert "x-request-id: " + "0" * 32 in head
        assert f"host: 127.0.0.2:{servers[0].port}" in head
        budget = int(head.partition("x-timeout-ms: ")[2].partition("\r\n")[0])
        assert 4000 < budget <= 5000

    with_peer(scenario, good)


@pytest.mark.parametrize(
    "bad",
    [
        reset_at_once,
        reset_inside_the_answer,
        end_inside_the_answer,
        no_http,
        endless_head,
        change_of_protocol,
        status(503),
    ],
)
def test_what_fails_at_one_process_is_asked_of_another(bad: Behaviour) -> None:
    """Nothing is lost and nothing is answered wrong; the bad one is left alone after that."""

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        assert [await ask(peer, str(n)) for n in range(30)] == [str(n) for n in range(30)]
        assert len(servers[0].calls) <= 2  # the first, and perhaps one more on a new connection
        assert len(servers[1].calls) == 30

    metrics = with_peer(scenario, bad, good)

    # Twice, if all of that took longer than the pause.
    assert re.search(
        r"peer_retries_total \{'service': 'test', 'peer': 'inference'\} [12]\.0", metrics
    )
    assert "'state': 'ejected'} 1.0" in metrics


def test_requests_with_one_affinity_go_to_one_process_as_long_as_it_is_well() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        affinity = Affinity()

        async def send() -> None:
            await peer.send(context(), "POST", "/x", content=[b"1"], affinity=affinity)

        for _ in range(20):
            await send()
        first, other = sorted(servers, key=lambda server: -len(server.calls))
        assert (len(first.calls), len(other.calls)) == (20, 0)
        first.behaviour = reset_at_once
        for _ in range(20):
            await send()
        assert len(first.calls) <= 22  # one more, and perhaps again on a new connection
        assert len(other.calls) == 20

    with_peer(scenario, good, good)


def test_a_process_that_leaves_keeps_those_with_an_affinity_to_it() -> None:
    """It has just said what it takes, and others may take something else."""

    async def say_goodbye(call: Call) -> None:
        await call.write(answer(200, '"bye"', "Connection: close"))

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        affinity = Affinity()
        for _ in range(5):
            await peer.send(context(), "POST", "/x", content=[b"1"], affinity=affinity)
        assert sorted(len(server.calls) for server in servers) == [0, 5]

    with_peer(scenario, say_goodbye, say_goodbye)


def test_a_process_that_is_not_there_harms_nobody() -> None:
    async def scenario(_peer: Peer, servers: list[Server]) -> None:
        elsewhere = Peer(
            "inference", f"http://127.0.0.9:{servers[0].port},{servers[0].url}", Metrics("test")
        )
        assert [await ask(elsewhere, str(n)) for n in range(30)] == [str(n) for n in range(30)]
        elsewhere.close()

    with_peer(scenario, good)


@pytest.mark.parametrize("code", [400, 404, 413, 415, 422, 429, 504])
def test_a_problem_of_the_request_is_passed_on_and_not_asked_twice(code: int) -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(RemoteProblem, match=f"d{code}") as passed:
            await ask(peer)
        assert passed.value.status == code
        assert passed.value.retry_after == "7"
        assert sum(len(server.calls) for server in servers) == 1

    bad = status(code, "Retry-After: 7")
    assert "'state': 'ejected'} 0.0" in with_peer(scenario, bad, bad)


def test_a_failure_of_the_service_is_no_problem_of_the_request() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(Unavailable, match="the inference service failed"):
            await ask(peer)
        assert len(servers[0].calls) == 1

    with_peer(scenario, status(500))


def test_an_answer_that_hangs_costs_the_budget_and_is_not_asked_twice() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(DeadlineExceeded, match="did not answer in time"):
            await ask(peer, budget_ms=200)
        assert sum(len(server.calls) for server in servers) == 1

    with_peer(scenario, hang_inside_the_answer, hang_inside_the_answer)


def test_a_deadline_that_passes_is_not_held_against_the_process() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(DeadlineExceeded):
            await ask(peer, budget_ms=100)
        servers[0].behaviour = good
        assert await ask(peer, "next") == "next"

    metrics = with_peer(scenario, hang_inside_the_answer)

    assert "'state': 'ejected'} 0.0" in metrics
    assert "peer_failures_total {'service': 'test', 'peer': 'inference'} 0.0" in metrics


def test_no_second_chance_when_the_time_is_up() -> None:
    async def fail_late(call: Call) -> None:
        budget_ms = int(call.head.lower().partition("x-timeout-ms: ")[2].partition("\r\n")[0])
        # The caller has given up by then, and this answer meets nobody.
        await asyncio.sleep(2 * budget_ms / 1000)
        call.reset()

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(DeadlineExceeded):
            await ask(peer, budget_ms=100)
        assert sum(len(server.calls) for server in servers) == 1

    with_peer(scenario, fail_late, fail_late)


def test_if_all_fail_the_first_two_are_asked_and_no_more() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        with pytest.raises(RemoteProblem, match="d503"):
            await ask(peer)
        assert sum(len(server.calls) for server in servers) == 2

    with_peer(scenario, status(503), status(503), status(503))


def test_retries_cannot_storm() -> None:
    """Of 1,000 requests that all fail, a hundred and a fifth are asked once more."""

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        for _ in range(1000):
            with pytest.raises(RemoteProblem):
                await ask(peer)
        assert 1250 <= sum(len(server.calls) for server in servers) <= 1300

    with_peer(scenario, status(503), status(503))


def test_a_frozen_process_is_given_up_and_its_requests_are_asked_elsewhere() -> None:
    """Half-open: connections are accepted, and nothing is ever answered, not even a probe."""

    async def scenario(_peer: Peer, servers: list[Server]) -> None:
        # The kernel accepts for a socket that listens; nobody ever reads.
        with socket.create_server(("127.0.0.8", servers[0].port)):
            urls = f"http://127.0.0.8:{servers[0].port},{servers[0].url}"
            both = Peer("inference", urls, Metrics("test"))
            both.start()
            answers = await asyncio.gather(*(ask(both, str(n)) for n in range(20)))
            both.close()
        assert answers == [str(n) for n in range(20)]

    with_peer(scenario, good)


def test_a_process_that_comes_back_is_asked_again() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        bad, _ = servers
        for _ in range(10):
            await ask(peer)
        asked = len(bad.calls)
        bad.behaviour = good
        async with asyncio.timeout(20):
            while len(bad.calls) == asked:
                await ask(peer)

    with_peer(scenario, status(503), good)


def test_a_slow_process_that_says_it_lives_is_waited_for() -> None:
    """It answers probes, even if only to say that it is not ready: nothing is asked twice."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        await release.wait()
        await good(call)

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        asking = asyncio.create_task(ask(peer))
        await arrived.wait()
        slow = next(server for server in servers if server.calls)
        slow.ready = False
        await until(lambda: slow.probes >= 3, "it is asked three times whether it is alive")
        release.set()
        assert await asking == "picture"
        assert sum(len(server.calls) for server in servers) == 1

    assert "'state': 'ejected'} 0.0" in with_peer(scenario, hold, hold)


def test_who_drains_is_left_alone_without_a_failure() -> None:
    async def leave(call: Call) -> None:
        await call.write(answer(200, f'"{call.body.decode()}"', "Connection: Close"))
        call.writer.close()

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        for _ in range(30):
            await ask(peer)
        assert len(servers[0].calls) == 1

    metrics = with_peer(scenario, leave, good)

    assert "'state': 'leaving'} 1.0" in metrics
    assert "peer_failures_total {'service': 'test', 'peer': 'inference'} 0.0" in metrics


def test_ready_is_who_has_one_ready_process() -> None:
    async def scenario(peer: Peer, servers: list[Server]) -> None:
        servers[0].ready = False
        await peer.check_ready()
        servers[1].ready = False
        with pytest.raises(Unavailable, match="not ready"):
            await peer.check_ready()

    with_peer(scenario, good, good)


def test_ready_does_not_wait_for_one_that_says_nothing() -> None:
    """Here it answers only after the other has been asked as well."""

    async def scenario(peer: Peer, servers: list[Server]) -> None:
        slow, other = servers
        other_asked = asyncio.Event()

        async def note() -> None:
            other_asked.set()

        slow.before_probe, other.before_probe = other_asked.wait, note
        other.ready = False
        for _ in range(10):
            other_asked.clear()
            await peer.check_ready()

    with_peer(scenario, good, good)
