"""A bounded queue in front of threads, with real threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from services.common.queue import WorkQueue
from services.common.request import errors
from services.common.request.context import Deadline, RequestContext
from tests.support.waiting import wait_until

pytestmark = pytest.mark.anyio


def context(budget_ms: float = 10_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


@pytest.fixture
def queue() -> Iterator[WorkQueue]:
    """One worker, and room for five jobs that wait."""
    opened = WorkQueue("queue", workers=1, max_waiting=5)
    yield opened
    opened.close()


async def test_one_request_too_many_is_refused_with_retry_after() -> None:
    queue = WorkQueue("queue", workers=1, max_waiting=1)
    release = threading.Event()
    busy = [asyncio.create_task(queue.run_job(context(), release.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(errors.TooManyRequests) as refused:
        await queue.run_job(context(), release.wait)
    release.set()

    assert await asyncio.gather(*busy) == [True, True]
    assert await queue.run_job(context(), lambda: "free again") == "free again"
    assert refused.value.retry_after_s >= 1
    queue.close()


async def test_a_job_never_runs_after_its_deadline(queue: WorkQueue) -> None:
    release = threading.Event()
    ran: list[str] = []
    busy = asyncio.create_task(queue.run_job(context(), release.wait))
    await asyncio.sleep(0)  # the task takes the only worker

    with pytest.raises(errors.DeadlineExceeded):
        await queue.run_job(context(50), lambda: ran.append("late"))
    release.set()
    await busy

    assert ran == []


async def test_a_cancelled_request_keeps_its_worker_until_its_job_ends(queue: WorkQueue) -> None:
    begun, release = threading.Event(), threading.Event()
    order: list[str] = []

    def slow() -> None:
        begun.set()
        release.wait()
        order.append("first")

    first = asyncio.create_task(queue.run_job(context(), slow))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(queue.run_job(context(), lambda: order.append("second")))
    first.cancel()
    await asyncio.sleep(0)
    release.set()
    await second

    assert order == ["first", "second"]
    assert first.cancelled()


async def test_the_time_in_the_queue_is_measured(queue: WorkQueue) -> None:
    waiting, release = context(), threading.Event()
    busy = asyncio.create_task(queue.run_job(context(), release.wait))
    await asyncio.sleep(0)
    queued = asyncio.create_task(queue.run_job(waiting, lambda: None))
    await asyncio.sleep(0)

    # The worker is free no sooner than this after both were queued.
    asyncio.get_running_loop().call_later(0.03, release.set)
    await asyncio.gather(busy, queued)

    assert float(waiting.timings.to_header("web").split("queue;dur=")[1]) > 20


async def test_a_job_beyond_its_deadline_keeps_its_worker(queue: WorkQueue) -> None:
    release = threading.Event()
    order: list[str] = []

    def slow() -> None:
        release.wait()
        order.append("slow")

    with pytest.raises(errors.DeadlineExceeded, match="while the request was processed"):
        await queue.run_job(context(50), slow)
    second = asyncio.create_task(queue.run_job(context(), lambda: order.append("second")))
    await asyncio.sleep(0)
    assert order == []
    release.set()
    await second

    assert order == ["slow", "second"]


async def test_a_request_that_would_be_late_is_refused_immediately(queue: WorkQueue) -> None:
    """Jobs have taken 0.1 s so far: 50 ms are not enough behind one of them."""
    await queue.run_job(context(), lambda: threading.Event().wait(0.1))
    release = threading.Event()
    busy = asyncio.create_task(queue.run_job(context(), release.wait))
    await asyncio.sleep(0)

    with pytest.raises(errors.TooManyRequests, match="1 requests queued"):
        await queue.run_job(context(50), lambda: None)
    release.set()
    await busy


async def test_an_exception_of_a_job_is_raised_to_its_caller(queue: WorkQueue) -> None:
    with pytest.raises(ZeroDivisionError):
        await queue.run_job(context(), lambda: 1 // 0)

    assert await queue.run_job(context(), lambda: "next") == "next"


def test_the_threads_of_a_queue_run_before_its_first_job() -> None:
    """A thread that could not start later would lose the job, and the worker for good."""
    opened = WorkQueue("early", workers=3, max_waiting=5)
    running = [one.name for one in threading.enumerate() if one.name.startswith("early")]
    opened.close()

    assert len(running) == 3


def test_a_thread_that_cannot_start_fails_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        if thread.name == "none_1":
            raise RuntimeError("can't start new thread")
        begin(thread)

    begin = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)

    with pytest.raises(RuntimeError, match="can't start new thread"):
        WorkQueue("none", workers=3, max_waiting=5)
    wait_until(
        lambda: not any(one.name.startswith("none") for one in threading.enumerate()),
        "the other threads end",
    )
