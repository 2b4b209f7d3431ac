"""Background requests: the scheduler runs them when no other request waits or runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests
from services.inference.scheduler import NetworkInput, Scheduler
from tests.services.test_scheduler import (
    Floats,
    SumEngine,
    context,
    open_engine,
    per_picture,
    picture,
    scheduling,
    start,
    sums,
    until,
)

pytestmark = pytest.mark.anyio


def start_background(
    scheduler: Scheduler, number: int, budget_ms: float = 20_000
) -> asyncio.Task[list[Floats]]:
    behind = replace(context(budget_ms), is_background=True)
    return asyncio.create_task(
        scheduler.enqueue(behind, NetworkInput.of(picture(number)), per_picture)
    )


async def queued_in_background(scheduler: Scheduler, count: int) -> None:
    await until(lambda: len(scheduler._background) == count)  # noqa: SLF001  # seen by no caller


async def test_an_ordinary_request_overtakes_all_background_requests() -> None:
    engine = SumEngine()
    async with scheduling(engine, max_streams=1) as scheduler:
        tasks = [start_background(scheduler, 1)]
        await until(lambda: engine.runs == [[1]])
        tasks += [start_background(scheduler, number) for number in (2, 3)]
        await queued_in_background(scheduler, 2)
        tasks += [start(scheduler, picture(number)) for number in (8, 9)]
        await until(lambda: scheduler.queued == 2)
        engine.gate.set()
        results = await asyncio.gather(*tasks)

    assert engine.runs == [[1], [8], [9], [2], [3]]
    assert [sums(result) for result in results] == [[12], [24], [36], [96], [108]]


async def test_no_background_request_runs_beside_an_ordinary_one() -> None:
    """One stream is free, and it would take half of the other's CPU time."""
    streams = [SumEngine(), SumEngine()]
    engine = SumEngine(streams=streams)
    async with scheduling(engine) as scheduler:
        tasks = [start(scheduler, picture(1))]
        await until(lambda: engine.runs == [[1]])
        tasks += [start(scheduler, picture(number)) for number in (2, 3)]
        await until(lambda: scheduler.queued == 2)
        tasks.append(start_background(scheduler, 7))
        await queued_in_background(scheduler, 1)
        engine.gate.set()
        await until(lambda: all(stream.runs for stream in streams))
        first, second = sorted(streams, key=lambda stream: stream.runs)
        first.gate.set()
        await tasks[1]
        assert engine.runs == [[1]]
        second.gate.set()
        await asyncio.gather(*tasks)

    assert engine.runs == [[1], [7]]
    assert [stream.runs for stream in (first, second)] == [[[2]], [[3]]]


async def test_background_requests_change_neither_queue_nor_expected_wait() -> None:
    """Autoscalers and admission see ordinary requests only."""
    engine = SumEngine()
    async with scheduling(engine, max_streams=1) as scheduler:
        tasks = [start_background(scheduler, number) for number in range(5)]
        await until(lambda: engine.runs == [[0]])
        await queued_in_background(scheduler, 4)
        assert scheduler.queued == 0
        assert scheduler.load.wait_s == 0
        engine.gate.set()
        await asyncio.gather(*tasks)


async def test_a_background_request_whose_deadline_passes_never_runs() -> None:
    engine = SumEngine()
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(1))
        await until(lambda: engine.runs == [[1]])
        with pytest.raises(DeadlineExceeded, match="while the request was queued"):
            await start_background(scheduler, 2, budget_ms=300)
        engine.gate.set()
        await first

    assert engine.runs == [[1]]


async def test_the_number_of_background_requests_is_bounded() -> None:
    engine = SumEngine()
    async with scheduling(engine, max_streams=1) as scheduler:
        tasks = [start_background(scheduler, 0) for _ in range(257)]
        await queued_in_background(scheduler, 256)
        with pytest.raises(TooManyRequests, match="256 background requests are queued"):
            await start_background(scheduler, 1)
        engine.gate.set()
        await asyncio.gather(*tasks)


async def test_the_time_in_the_background_queue_has_a_name_of_its_own() -> None:
    """The queue's phase is what dashboards show of ordinary requests."""
    behind = replace(context(), is_background=True)
    async with scheduling(open_engine()) as scheduler:
        await scheduler.enqueue(behind, NetworkInput.of(picture(1)), per_picture)

    assert {"background_queue", "engine"} <= dict(behind.timings.own_phases()).keys()
    assert "queue" not in dict(behind.timings.own_phases())


def test_a_background_request_tells_the_next_service() -> None:
    ordinary = RequestContext("0" * 32, Deadline.after_ms(1000))

    assert "x-priority" not in ordinary.to_headers()
    assert replace(ordinary, is_background=True).to_headers()["x-priority"] == "background"
