"""Endpoints that appear and disappear under one name, resolved by the C library.

Tests with `with_own_hosts_file` run in a child process, where they say what the name resolves to.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

import pytest

from services.common.peer.addresses import Address, Origin
from services.common.peer.discovery import Discovery
from services.common.peer.exchange import Request
from services.common.request.errors import DeadlineExceeded, Unavailable
from tests.support.hosts_file import NAME, HostsFile, with_own_hosts_file
from tests.support.misbehaving import PATIENCE_S, Call, Server, echo, respond, until
from tests.support.peering import Downstream, start_peer, start_servers

pytestmark = pytest.mark.anyio


async def send_until_received(downstream: Downstream, server: Server) -> None:
    """Send requests until the server has received one more."""
    before = len(server.calls)
    async with asyncio.timeout(PATIENCE_S):
        while len(server.calls) == before:
            assert await downstream.send() == "picture"


@with_own_hosts_file
async def test_a_new_address_gets_requests_and_a_removed_one_finishes(hosts: HostsFile) -> None:
    """No request is lost, and connections that are no longer needed are closed."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        await release.wait()
        await echo(call)

    async with (
        start_servers(echo, echo) as (old, new),
        start_peer(f"http://{NAME}:{old.port}") as downstream,
    ):
        hosts.set(old.ip)
        await send_until_received(downstream, old)
        assert f"host: {NAME}:{old.port}\r\n" in old.calls[0].head
        old.behaviour = hold
        held = asyncio.create_task(downstream.send("held"))
        await arrived.wait()
        old.behaviour = echo
        hosts.set(old.ip, new.ip)
        await send_until_received(downstream, new)
        before = len(new.calls)
        await asyncio.gather(*(downstream.send() for _ in range(40)))
        assert 10 <= len(new.calls) - before <= 30
        hosts.set(new.ip)
        await until(lambda: downstream.count("serving") == 1, "the old address is removed")
        before = len(old.calls)
        await asyncio.gather(*(downstream.send() for _ in range(40)))
        assert len(old.calls) == before
        release.set()
        assert await held == "held"
        await until(lambda: not old.connections, "its connections are closed")


@with_own_hosts_file
async def test_if_dns_hangs_or_fails_the_last_addresses_stay(hosts: HostsFile) -> None:
    """Ejected endpoints are still probed, and return."""
    async with (
        start_servers(echo, echo) as (first, second),
        start_peer(f"http://{NAME}:{first.port}") as downstream,
    ):
        hosts.set(first.ip, second.ip)
        await send_until_received(downstream, first)
        await send_until_received(downstream, second)
        with hosts.hanging():
            # The second time is more than a second later: by then a lookup hangs.
            for _ in range(2):
                first.behaviour, first.ready = respond(503), False
                await send_until_received(downstream, first)
                assert downstream.count("ejected") == 1
                first.behaviour, first.ready = echo, True
                await send_until_received(downstream, first)
            hosts.set()
        await asyncio.gather(*(downstream.send() for _ in range(20)))
        assert downstream.count("serving") == 2


@with_own_hosts_file
async def test_a_request_waits_for_dns_until_its_deadline(hosts: HostsFile) -> None:
    async with start_servers(echo) as (server,):
        hosts.set(server.ip)
        url = f"http://{NAME}:{server.port}"
        with hosts.hanging():
            async with start_peer(url) as downstream:
                with pytest.raises(DeadlineExceeded, match="inference service was not found"):
                    await downstream.send(budget_ms=200)
                with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                    await downstream.peer.check_ready()
        async with start_peer(url) as downstream:
            assert await downstream.send("picture") == "picture"


@with_own_hosts_file
async def test_a_name_may_start_to_exist_later(hosts: HostsFile) -> None:
    """As when all services start together: requests fail fast, and succeed a second later."""
    async with (
        start_servers(echo) as (server,),
        start_peer(f"http://{NAME}:{server.port}") as downstream,
    ):
        with pytest.raises(Unavailable, match="the inference service cannot be reached"):
            await downstream.send()
        hosts.set(server.ip)
        await until(lambda: downstream.count("serving") == 1, "the name is resolved")
        assert await downstream.send("picture") == "picture"


@dataclass(frozen=True)
class ScriptedOrigin(Origin):
    """A name whose lookups return what a test says, one after another; then they hang."""

    results: list[list[Address] | OSError] = field(default_factory=list, hash=False)
    lookups: list[int] = field(default_factory=list, hash=False)

    async def resolve(self) -> list[Address]:
        self.lookups.append(len(self.lookups))
        if not self.results:
            await asyncio.Event().wait()
        result = self.results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result


async def test_a_dns_failure_is_logged_once_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = Address("127.0.0.2", 4002, "x")
    failure = OSError("DNS has failed")
    origin = ScriptedOrigin(False, "x", 4002, results=[[here], failure, failure, [here], [here]])
    discovery = Discovery("inference", [origin])
    discovery.start()
    await until(lambda: len(origin.lookups) >= 4, "DNS works again")
    discovery.close()

    assert list(discovery.endpoints.known) == [here]
    assert capsys.readouterr().out.count("DNS has failed") == 1


async def test_endpoints_whose_name_is_gone_are_probed_before_a_picture_is_sent() -> None:
    """Nothing may be left there, and a connection to nothing takes seconds to fail."""
    here = Address("127.0.0.2", 4002, "x")
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    failed = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    for error, doubted in ((gone, True), (failed, False)):
        origin = ScriptedOrigin(False, "x", 4002, results=[[here], error])
        discovery = Discovery("inference", [origin])
        discovery.start()
        await until(lambda origin=origin: len(origin.lookups) == 3, "the second lookup is over")
        discovery.doubt()

        assert discovery.absence.has_begun is doubted
        assert discovery.endpoints.count("ejected") == int(doubted)
        (endpoint,) = discovery.endpoints.known.values()
        discovery.endpoints.record_ready(endpoint)
        # It has responded since the name is gone: there is no doubt any more.
        discovery.doubt()
        assert not discovery.absence.has_begun
        assert discovery.endpoints.count("serving") == 1
        discovery.close()


async def test_an_address_of_a_fallback_goes_with_its_name() -> None:
    """It is there for starting pods: those of yesterday are of no use."""
    here, there = Address("127.0.0.2", 4002, "x"), Address("127.0.0.3", 4002, "y", None, True)
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    named = ScriptedOrigin(False, "x", 4002, results=[[here], gone])
    fallback = ScriptedOrigin(False, "y", 4002, True, results=[[there], gone])
    discovery = Discovery("inference", [named, fallback])
    discovery.start()
    await until(
        lambda: [len(one.lookups) for one in (named, fallback)] == [3, 3], "both are looked up"
    )

    assert discovery.endpoints.known.keys() == {here}
    discovery.close()


async def test_a_slow_lookup_never_overlaps_itself_or_delays_another() -> None:
    slow = ScriptedOrigin(False, "slow", 4002)
    found = [Address("127.0.0.2", 4002, "x")]
    quick = ScriptedOrigin(False, "quick", 4002, results=[found] * 4)
    discovery = Discovery("inference", [slow, quick])
    discovery.start()
    await discovery.wait_resolved(PATIENCE_S)
    await until(lambda: len(quick.lookups) >= 4, "the other name is resolved again and again")
    discovery.close()

    assert len(slow.lookups) == 1


async def test_a_removed_address_leaves_no_connection_of_a_probe() -> None:
    """The probe was still connecting when DNS had the address no more."""
    async with start_servers(echo) as (server,):
        address = Address(server.ip, server.port, "x")
        discovery = Discovery("inference", [])
        discovery.endpoints.update([address])
        probe = asyncio.create_task(discovery.probe_readiness(discovery.endpoints.known[address]))
        await asyncio.sleep(0)
        for removed in discovery.endpoints.update([]):
            discovery.release(removed)
        await probe

        await until(lambda: not server.connections, "its connection is closed")


async def test_an_address_that_returns_and_leaves_again_finishes_its_request() -> None:
    """There are two endpoints of this address by then, and one pool of connections."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        await release.wait()
        await echo(call)

    async with start_servers(hold) as (server,):
        address = Address(server.ip, server.port, "x")
        discovery = Discovery("inference", [])
        discovery.endpoints.update([address])
        first = discovery.endpoints.known[address]
        request = asyncio.create_task(
            discovery.pool(first).send_request(Request("POST", "/", content=[b"done"]), 20)
        )
        await arrived.wait()
        for known in ([], [address], []):
            for removed in discovery.endpoints.update(known):
                discovery.release(removed)
        release.set()
        assert (await request).content == b'"done"'

        discovery.release(first)
        await until(lambda: not server.connections, "its connection is closed")
