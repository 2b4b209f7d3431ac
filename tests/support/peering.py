"""A Peer of real servers, each with its own behaviour.

All of 127.0.0.0/8 is loopback: the servers have one port and an address each, as pods do.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from services.common.observe.telemetry import Metrics
from services.common.peer import Hold, Peer
from services.common.peer.hold import HoldLimits
from services.common.request.context import Deadline, RequestContext
from tests.support.misbehaving import PATIENCE_S, Behaviour, Server


@dataclass
class Downstream:
    """A service as its caller sees it: a Peer, with the metrics that it exports."""

    urls: str
    tls_context: Callable[[], ssl.SSLContext] | None = None
    hold_limits: HoldLimits | None = None
    fallback_urls: str | None = None
    metrics: Metrics = field(default_factory=lambda: Metrics("test"))
    peer: Peer = field(init=False)

    def __post_init__(self) -> None:
        limits = self.hold_limits
        hold = None if limits is None else Hold(limits, self.metrics)
        self.peer = Peer(
            "inference",
            self.urls,
            self.metrics,
            self.tls_context,
            hold=hold,
            fallback_urls=self.fallback_urls,
        )

    async def send(
        self,
        text: str = "picture",
        budget_ms: float = PATIENCE_S * 1000,
        *,
        may_be_held: bool = False,
    ) -> str:
        """Send a text; return the text of the response."""
        sent = context(budget_ms)
        sent.may_be_held = may_be_held
        response = await self.peer.send(sent, "POST", "/x", content=[text.encode()])
        answered: str = self.peer.read_json(response)
        return answered

    async def send_each(self, count: int) -> None:
        """Send requests one after another; each response must be that of its request."""
        for number in range(count):
            assert await self.send(str(number)) == str(number)

    def count(self, state: str) -> float:
        """Return the exported number of endpoints in a state."""
        return self.sample("endpoints", state=state)

    def total(self, name: str) -> float:
        """Return an exported counter: failures, retries or ejections."""
        return self.sample(f"{name}_total")

    def sample(self, name: str, **labels: str) -> float:
        value = self.metrics.registry.get_sample_value(
            f"elastic_yolo_peer_{name}", {"service": "test", "peer": "inference", **labels}
        )
        assert value is not None, f"not exported: {name}"
        return value


@asynccontextmanager
async def start_servers(*behaviours: Behaviour) -> AsyncIterator[list[Server]]:
    """Run one server for each behaviour, on 127.0.0.2 and following, all on one port."""
    async with AsyncExitStack() as stack:
        servers: list[Server] = []
        for number, behaviour in enumerate(behaviours):
            port = servers[0].port if servers else 0
            server = Server(f"127.0.0.{number + 2}", behaviour, port)
            servers.append(await stack.enter_async_context(server.running()))
        yield servers


@asynccontextmanager
async def start_peer(urls: str, hold_limits: HoldLimits | None = None) -> AsyncIterator[Downstream]:
    """Resolve and probe what the URLs name until the block ends."""
    downstream = Downstream(urls, hold_limits=hold_limits)
    downstream.peer.start()
    try:
        yield downstream
    finally:
        downstream.peer.close()


@asynccontextmanager
async def start_downstream(
    *behaviours: Behaviour,
) -> AsyncIterator[tuple[Downstream, list[Server]]]:
    """Run one server for each behaviour, and a Peer that knows all of them."""
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(start_servers(*behaviours))
        urls = ",".join(server.url for server in servers)
        yield await stack.enter_async_context(start_peer(urls)), servers


def context(budget_ms: float = PATIENCE_S * 1000) -> RequestContext:
    """Return the context of a request with this much time."""
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))
