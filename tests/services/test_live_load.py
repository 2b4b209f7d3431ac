"""The load that web sends itself: one at a time, for as long as was asked."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from services.common.core.golden import Golden
from services.common.request.context import RequestContext
from services.web.live.load import LoadOrder, LoadSender


class Arrivals:
    """An app that counts requests."""

    count = 0

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.count += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def golden(_: RequestContext) -> Golden:
    return Golden(
        model="m", version="1", picture=base64.b64encode(b"picture").decode(),
        expected=[], tolerance_px=1.0, tolerance_score=0.1,
    )  # fmt: skip


def test_of_loads_that_are_ordered_together_one_runs() -> None:
    """Each ends the one before, which takes a moment."""

    async def order_and_stop() -> tuple[int, int]:
        sender, app = LoadSender("/inference", golden), Arrivals()
        for _ in range(2):
            order = LoadOrder(rate=50, seconds=20)
            await asyncio.gather(*(sender.start(app, order, {}) for _ in range(5)))
            await asyncio.sleep(0.1)
        await sender.stop()
        stopped_at = app.count
        await asyncio.sleep(0.3)
        return stopped_at, app.count

    stopped_at, later = asyncio.run(order_and_stop())
    assert stopped_at > 0
    assert later == stopped_at


class Slow(Arrivals):
    """An app that answers when it is told to."""

    def __init__(self) -> None:
        """Hold all requests."""
        self.begun, self.may_answer = asyncio.Event(), asyncio.Event()
        self.answered = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.set()
        await self.may_answer.wait()
        await super().__call__(scope, receive, send)
        self.answered += 1


def test_pictures_under_way_are_answered_when_the_load_is_stopped() -> None:
    async def run() -> tuple[int, float]:
        sender, app = LoadSender("/inference", golden), Slow()
        await sender.start(app, LoadOrder(rate=50, seconds=20), {})
        await app.begun.wait()
        stopping = asyncio.create_task(sender.stop())
        await asyncio.sleep(0)
        app.may_answer.set()
        await stopping
        return app.answered, sender.left_s

    answered, left_s = asyncio.run(run())
    assert answered > 0
    assert left_s == 0


def test_a_slow_load_ends_in_time() -> None:
    """One picture in a hundred seconds, for a fifth of a second."""

    async def run() -> float:
        sender = LoadSender("/inference", golden)
        await sender.start(Arrivals(), LoadOrder(rate=0.01, seconds=0.2), {})
        await asyncio.sleep(2)
        return sender.rate

    assert asyncio.run(run()) == 0
