"""A bounded queue in front of threads, with real threads."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.common.queue.work_queue import WorkQueue
from services.common.request import errors
from services.common.request.context import RequestContext
from services.common.request.deadline import Deadline


def context(budget_ms: float = 10_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


def test_one_request_too_many_is_told_when_to_come_back() -> None:
    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=1)
        release = threading.Event()
        busy = [asyncio.create_task(queue.run(context(), release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(errors.TooManyRequests) as refused:
            await queue.run(context(), release.wait)
        release.set()
        assert await asyncio.gather(*busy) == [True, True]
        assert await queue.run(context(), lambda: "free again") == "free again"
        assert refused.value.retry_after_s >= 1
        queue.close()

    asyncio.run(scenario())


def test_a_job_whose_time_is_up_never_runs() -> None:
    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        release = threading.Event()
        ran: list[str] = []
        busy = asyncio.create_task(queue.run(context(), release.wait))
        await asyncio.sleep(0)  # lets the task take the only turn
        with pytest.raises(errors.DeadlineExceeded):
            await queue.run(context(50), lambda: ran.append("late"))
        release.set()
        await busy
        assert ran == []
        queue.close()

    asyncio.run(scenario())


def test_a_cancelled_request_keeps_its_turn_until_its_thread_is_done() -> None:
    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        begun, release = threading.Event(), threading.Event()
        order: list[str] = []

        def slow() -> None:
            begun.set()
            release.wait()
            order.append("first")

        first = asyncio.create_task(queue.run(context(), slow))
        await asyncio.to_thread(begun.wait)
        second = asyncio.create_task(queue.run(context(), lambda: order.append("second")))
        first.cancel()
        await asyncio.sleep(0)
        release.set()
        await second
        assert order == ["first", "second"]
        assert first.cancelled()
        queue.close()

    asyncio.run(scenario())


def test_time_in_the_queue_is_measured() -> None:
    async def scenario() -> float:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        waiting = context()
        busy = asyncio.create_task(queue.run(context(), lambda: threading.Event().wait(0.05)))
        await asyncio.sleep(0)
        await queue.run(waiting, lambda: None)
        await busy
        queue.close()
        return float(waiting.timings.header("web").split("queue;dur=")[1])

    assert asyncio.run(scenario()) > 20


def test_a_job_that_takes_too_long_is_not_waited_for_but_keeps_its_turn() -> None:
    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        release = threading.Event()
        order: list[str] = []

        def slow() -> None:
            release.wait()
            order.append("slow")

        with pytest.raises(errors.DeadlineExceeded, match="while it was worked on"):
            await queue.run(context(50), slow)
        second = asyncio.create_task(queue.run(context(), lambda: order.append("second")))
        await asyncio.sleep(0)
        assert order == []
        release.set()
        await second
        assert order == ["slow", "second"]
        queue.close()

    asyncio.run(scenario())


def test_who_would_wait_too_long_is_refused_at_once() -> None:
    """Jobs have taken 0.1 s so far: a caller with 50 ms has no chance behind one of them."""

    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        await queue.run(context(), lambda: threading.Event().wait(0.1))
        release = threading.Event()
        busy = asyncio.create_task(queue.run(context(), release.wait))
        await asyncio.sleep(0)
        with pytest.raises(errors.TooManyRequests, match="1 requests queued"):
            await queue.run(context(50), lambda: None)
        release.set()
        await busy
        queue.close()

    asyncio.run(scenario())


def test_an_error_of_a_job_is_the_callers() -> None:
    async def scenario() -> None:
        queue = WorkQueue("queue", workers=1, max_waiting=5)
        with pytest.raises(ZeroDivisionError):
            await queue.run(context(), lambda: 1 // 0)
        assert await queue.run(context(), lambda: "next") == "next"
        queue.close()

    asyncio.run(scenario())
