"""Processes that come and go under one name, found through the C library's own look-up.

Scenarios with `with_own_names` run in a process of their own, where the name means what they say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.peer.addresses import Address, Origin
from services.common.peer.discovery import Discovery
from services.common.peer.endpoints import State
from services.common.request.errors import DeadlineExceeded, Unavailable
from tests.services.test_peers import ask, good, status
from tests.support.misbehaving import Call, Server, until
from tests.support.own_names import NAME, Names, with_own_names


@asynccontextmanager
async def running(number: int) -> AsyncIterator[list[Server]]:
    """So many good servers on 127.0.0.2 and following, all on one port, as pods are."""
    async with AsyncExitStack() as stack:
        servers: list[Server] = []
        for last in range(2, 2 + number):
            server = Server(f"127.0.0.{last}", good, servers[0].port if servers else 0)
            servers.append(await stack.enter_async_context(server.running()))
        yield servers


@asynccontextmanager
async def found(port: int) -> AsyncIterator[tuple[Peer, Callable[[State], float | None]]]:
    """The peer that the name leads to, and how many processes are in a state, as exported."""
    metrics = Metrics("test")

    def count(state: State) -> float | None:
        labels = {"service": "test", "peer": "inference", "state": state}
        return metrics.registry.get_sample_value("elastic_yolo_peer_endpoints", labels)

    peer = Peer("inference", f"http://{NAME}:{port}", metrics)
    peer.start()
    try:
        yield peer, count
    finally:
        peer.close()


async def ask_until_heard(peer: Peer, server: Server) -> None:
    """Go on asking until the server has been asked once more."""
    asked = len(server.calls)
    async with asyncio.timeout(20):
        while len(server.calls) == asked:
            assert await ask(peer, "picture") == "picture"


@with_own_names
async def test_a_new_address_takes_its_share_and_one_that_is_gone_finishes(names: Names) -> None:
    """Nothing that is on its way gets lost, and what nobody needs any more is closed."""
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(call: Call) -> None:
        arrived.set()
        await release.wait()
        await good(call)

    async with running(2) as (old, new), found(old.port) as (peer, count):
        names.put(old.ip)
        await ask_until_heard(peer, old)
        assert f"host: {NAME}:{old.port}\r\n" in old.calls[0].head
        old.behaviour = hold
        held = asyncio.create_task(ask(peer, "held"))
        await arrived.wait()
        old.behaviour = good
        names.put(old.ip, new.ip)
        await ask_until_heard(peer, new)
        before = len(new.calls)
        await asyncio.gather(*(ask(peer) for _ in range(40)))
        assert 10 <= len(new.calls) - before <= 30
        names.put(new.ip)
        await until(lambda: count("serving") == 1, "the old address is forgotten")
        asked = len(old.calls)
        await asyncio.gather(*(ask(peer) for _ in range(40)))
        assert len(old.calls) == asked
        release.set()
        assert await held == "held"
        await until(lambda: not old.connections, "its connections are closed")


@with_own_names
async def test_dns_that_hangs_or_finds_nothing_harms_nobody(names: Names) -> None:
    """The last addresses are kept, and who was ejected is still probed and comes back."""
    async with running(2) as (first, second), found(first.port) as (peer, count):
        names.put(first.ip, second.ip)
        await ask_until_heard(peer, first)
        await ask_until_heard(peer, second)
        with names.hanging():
            # By the second time, more than a second later, a look-up hangs for sure.
            for _ in range(2):
                first.behaviour = status(503)
                await ask_until_heard(peer, first)
                assert count("ejected") == 1
                first.behaviour = good
                await ask_until_heard(peer, first)
            names.put()
        await asyncio.gather(*(ask(peer) for _ in range(20)))
        assert count("serving") == 2


@with_own_names
async def test_a_request_waits_for_the_first_look_no_longer_than_its_time(names: Names) -> None:
    async with running(1) as (server,):
        names.put(server.ip)
        with names.hanging():
            async with found(server.port) as (peer, _):
                with pytest.raises(DeadlineExceeded, match="inference service was not found"):
                    await ask(peer, budget_ms=200)
                with pytest.raises(Unavailable, match="the inference service cannot be reached"):
                    await peer.check_ready()
        async with found(server.port) as (peer, _):
            assert await ask(peer, "picture") == "picture"


@with_own_names
async def test_a_name_may_appear_later(names: Names) -> None:
    """As when all start at once: refused without a wait, and found a second later."""
    async with running(1) as (server,), found(server.port) as (peer, count):
        with pytest.raises(Unavailable, match="the inference service cannot be reached"):
            await ask(peer)
        names.put(server.ip)
        await until(lambda: count("serving") == 1, "it is found")
        assert await ask(peer, "picture") == "picture"


@dataclass(frozen=True)
class Scripted(Origin):
    """A name whose look-ups go as a test says."""

    answers: list[list[Address] | OSError] = field(default_factory=list, hash=False)
    looks: list[int] = field(default_factory=list, hash=False)
    hang: asyncio.Event = field(default_factory=asyncio.Event, hash=False)

    async def resolve(self) -> list[Address]:
        self.looks.append(len(self.looks))
        if not self.answers:
            await self.hang.wait()
            return []
        given = self.answers.pop(0)
        if isinstance(given, OSError):
            raise given
        return given


def test_a_failure_of_dns_is_told_once_and_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = Address("127.0.0.2", 4002, "x")
    away = OSError("DNS is away")

    async def scenario() -> None:
        name = Scripted(False, "x", 4002, [[here], away, away, [here], [here]])
        discovery = Discovery("inference", [name])
        discovery.start()
        await until(lambda: len(name.looks) == 4, "DNS is back")
        assert list(discovery.endpoints.known) == [here]
        discovery.close()

    asyncio.run(scenario())

    assert capsys.readouterr().out.count("DNS is away") == 1


def test_a_slow_name_is_looked_up_once_at_a_time_and_holds_up_no_other() -> None:
    async def scenario() -> None:
        slow = Scripted(False, "slow", 4002)
        quick = Scripted(False, "quick", 4002, [[Address("127.0.0.2", 4002, "x")]] * 4)
        discovery = Discovery("inference", [slow, quick])
        discovery.start()
        await discovery.look_once(20)
        await until(lambda: len(quick.looks) == 4, "the other name is looked up again and again")
        discovery.close()
        assert len(slow.looks) == 1

    asyncio.run(scenario())
