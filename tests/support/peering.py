"""A peer of several real servers, each with a behaviour of its own, and something to ask of it.

All of 127.0.0.0/8 is loopback, so processes can have one port and an address each, as pods do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from services.common.observe.telemetry import Metrics
from services.common.peer import Peer
from services.common.request.context import Deadline, RequestContext
from tests.support.misbehaving import Behaviour, Call, Server, answer, problem


def context(budget_ms: float = 20_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


async def good(call: Call) -> None:
    await call.write(answer(200, f'"{call.body.decode()}"'))


async def reset_at_once(call: Call) -> None:
    call.reset()


async def reset_inside_the_answer(call: Call) -> None:
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    call.reset()


async def end_inside_the_answer(call: Call) -> None:
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    call.writer.close()


async def no_http(call: Call) -> None:
    await call.write("220 smtp.example.org ESMTP\r\n")


async def hang_inside_the_answer(call: Call) -> None:
    await call.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await asyncio.Event().wait()


def status(code: int, *headers: str) -> Behaviour:
    async def behave(call: Call) -> None:
        await call.write(answer(code, problem(code), *headers))

    return behave


async def endless_head(call: Call) -> None:
    await call.write("HTTP/1.1 200 OK\r\n")
    filler = "".join(f"X-Filler-{n}: {'a' * 1000}\r\n" for n in range(1000))
    for _ in range(70):  # megabytes
        await call.write(filler)


async def change_of_protocol(call: Call) -> None:
    await call.write("HTTP/1.1 101 Now\r\nUpgrade: smtp\r\nConnection: Upgrade\r\n\r\nEHLO")


Scenario = Callable[[Peer, list[Server]], Awaitable[None]]


def with_peer(scenario: Scenario, *behaviours: Behaviour) -> str:
    """Run a scenario with a peer of so many servers on one port; return its metrics."""
    metrics = Metrics("test")

    async def run() -> None:
        async with AsyncExitStack() as stack:
            servers: list[Server] = []
            for number, behaviour in enumerate(behaviours):
                port = servers[0].port if servers else 0
                server = Server(f"127.0.0.{number + 2}", behaviour, port)
                servers.append(await stack.enter_async_context(server.running()))
            peer = Peer("inference", ",".join(server.url for server in servers), metrics)
            peer.start()
            try:
                await scenario(peer, servers)
            finally:
                peer.close()

    asyncio.run(run())
    return "\n".join(
        f"{sample.name} {sample.labels} {sample.value}"
        for family in metrics.registry.collect()
        for sample in family.samples
        if "peer" in sample.name
    )


async def ask(peer: Peer, text: str = "picture", budget_ms: float = 20_000) -> str:
    response = await peer.send(context(budget_ms), "POST", "/x", content=[text.encode()])
    answered: str = peer.read_json(response)
    return answered
