"""The collector: one for all viewers, and nothing without them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.common.core.probes import Phase, Readiness
from services.common.request.errors import Unauthorized, Unavailable
from services.web.live import collector
from services.web.live.autoscalers import NoAutoscalers, Scaler
from services.web.live.collector import MOST_VIEWERS, Collector, Sources
from services.web.live.poll import Poll
from tests.support.live import process

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


@dataclass
class Looking:
    """Services that always look the same, and that count how often they are looked at."""

    collector: Collector = field(init=False)
    looks: int = 0
    open: int = 0
    credentials: list[Mapping[str, str]] = field(default_factory=list)
    broken: bool = False

    def __post_init__(self) -> None:
        self.readiness = Readiness()
        self.readiness.begin(Phase.SERVING)

        @asynccontextmanager
        async def sources() -> AsyncIterator[Sources]:
            self.open += 1
            try:
                yield Sources(self, NoAutoscalers())
            finally:
                self.open -= 1

        self.collector = Collector(sources, self.readiness, may_load=False)

    async def look(self, credential: Mapping[str, str]) -> Poll:
        self.looks += 1
        self.credentials.append(credential)
        if self.broken:
            raise ValueError("a bug")
        return Poll({"w": process("w", "web", age_s=float(self.looks))})

    @asynccontextmanager
    async def viewer(self, credential: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        """Watch until the block ends; the first event has arrived."""
        headers = {"authorization": credential} if credential else {}
        async with aclosing(self.collector.watch(headers)) as events:  # type: ignore[type-var]
            yield events


@pytest.fixture
async def looking() -> Looking:
    return Looking()


async def take(events: AsyncIterator[bytes]) -> tuple[str, dict[str, Any]]:
    """Return name and data of the next event."""
    async with asyncio.timeout(PATIENCE_S):
        head, data, *_ = (await anext(events)).decode().split("\n")
    return head.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def until(fact: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_it_looks_only_while_somebody_watches(looking: Looking) -> None:
    assert (looking.looks, looking.collector.is_running) == (0, False)

    async with looking.viewer() as events:
        name, _ = await take(events)
        assert name == "snapshot"
        assert looking.collector.viewers == 1
        await until(lambda: looking.looks >= 3)

    assert (looking.collector.viewers, looking.collector.is_running) == (0, False)
    await until(lambda: looking.open == 0)
    looks = looking.looks
    async with looking.viewer() as events:
        await take(events)
    assert looking.looks == looks + 1


async def test_viewers_get_the_same_bytes(looking: Looking) -> None:
    async with looking.viewer() as first, looking.viewer() as second:
        assert await anext(first) is await anext(second)
        tick = await anext(first)
        assert tick.startswith(b"event: tick\n")
        assert tick is await anext(second)


async def test_a_slow_viewer_gets_the_newest_state_and_nothing_is_kept_for_it(
    looking: Looking,
) -> None:
    async with looking.viewer() as slow, looking.viewer() as quick:
        await take(slow)
        latest = {}
        for _ in range(4):
            _, latest = await take(quick)

        name, state = await take(slow)

        assert name == "snapshot"
        assert state["at"] == latest["at"]
        assert len(state["points"]) >= 4


async def test_one_viewer_too_many_is_refused(looking: Looking) -> None:
    async with AsyncExitStack() as watched:
        for _ in range(MOST_VIEWERS):
            await take(await watched.enter_async_context(looking.viewer()))
        with pytest.raises(Unavailable, match="60 watch already"):
            looking.collector.require_room()
        async with looking.viewer() as events:
            with pytest.raises(Unavailable):
                await anext(events)
        assert looking.collector.viewers == MOST_VIEWERS

    looking.collector.require_room()


async def test_streams_end_when_the_process_drains(looking: Looking) -> None:
    async with looking.viewer() as events:
        await take(events)
        looking.readiness.begin_drain(5)
        async with asyncio.timeout(PATIENCE_S):
            left = [event async for event in events]

        assert len(left) <= 1
        with pytest.raises(Unavailable):
            looking.collector.require_room()
    assert not looking.collector.is_running


async def test_a_bug_in_one_look_does_not_end_the_view(looking: Looking) -> None:
    async with looking.viewer() as events:
        await take(events)
        looking.broken = True
        await until(lambda: looking.looks >= 3)
        looking.broken = False

        assert (await take(events))[0] in ("tick", "snapshot")


async def test_other_webs_are_asked_with_a_credential_that_a_viewer_has_now(
    looking: Looking,
) -> None:
    async with looking.viewer("Bearer second") as second:
        async with looking.viewer("Bearer first") as first:
            await take(first)
            await take(second)
        await until(lambda: looking.looks >= 2)

    stated = {one["authorization"] for one in looking.credentials}
    assert stated <= {"Bearer first", "Bearer second"}
    assert looking.credentials[-1] == {"authorization": "Bearer second"}


async def test_an_issuer_that_cannot_be_asked_ends_no_view(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "_CHECK_PERIOD_S", 0.0)
    events: list[bytes] = []

    async def check() -> None:
        if events:
            raise Unauthorized("the token has expired")
        raise Unavailable("the issuer cannot be reached")

    async for event in looking.collector.watch({}, check):
        events.append(event)  # noqa: PERF401  # the check sees them

    assert len(events) == 1
    assert not looking.collector.is_running


async def test_a_changed_wish_of_an_autoscaler_is_told(looking: Looking) -> None:
    async with looking.viewer() as events:
        await take(events)
        view = looking.collector._view  # noqa: SLF001  # what viewers get

        view.note(1.0, [], {"inference": Scaler(1, 1, 1, 4, "cpu 60 % of 70 %")})
        (change,) = view.note(2.0, [], {"inference": Scaler(1, 3, 1, 4, "cpu 150 % of 70 %")})

    assert (change.tier, change.kind) == ("inference", "scaled")
    assert change.text == "wants 3 instead of 1: cpu 150 % of 70 %"
