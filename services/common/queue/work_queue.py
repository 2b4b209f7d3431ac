"""A bounded queue in front of worker threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.common.observe.telemetry import QueueLoad
from services.common.queue.service_rate import ServiceRate
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded

T = TypeVar("T")


class WorkQueue:
    """Runs jobs in threads, so that the event loop answers probes while all workers are busy."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        """Run `workers` jobs at a time and let `max_waiting` wait; `name` is for Server-Timing."""
        self.name = name
        self._limit = workers + max_waiting
        self._turns = asyncio.Semaphore(workers)
        self._workers = workers
        self._rate = ServiceRate()
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)

    @property
    def load(self) -> QueueLoad:
        """The jobs that wait, their limit, and the predicted wait."""
        waiting = max(0, self._rate.in_flight - self._workers)
        return QueueLoad(waiting, self._limit - self._workers, self._rate.wait_s())

    def close(self) -> None:
        """Finish the running jobs and stop the threads."""
        self._threads.shutdown()

    async def run_job(self, context: RequestContext, job: Callable[[], T]) -> T:
        """Run `job` in a worker thread when a worker is free, and return its result.

        Raises TooManyRequests immediately if the queue is full or its predicted wait exceeds the
        request's deadline. Raises DeadlineExceeded at the deadline: a job that is still queued
        never runs, a running one continues without its caller.
        """
        self._rate.refuse_if_late(self._limit, context.deadline.remaining_s())
        self._rate.begin()
        try:
            await self._wait_for_turn(context)
        except BaseException:
            self._rate.end(done=False)
            raise
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        # A thread cannot be stopped: the worker is free when the job ends, even without its caller.
        running.add_done_callback(self._end_turn)
        return await finish_in_time(running, context)

    async def _wait_for_turn(self, context: RequestContext) -> None:
        with context.timings.measure(self.name):
            try:
                async with asyncio.timeout(context.deadline.remaining_s()):
                    await self._turns.acquire()
            except TimeoutError:
                raise DeadlineExceeded("the deadline passed while the request was queued") from None

    def _end_turn(self, running: asyncio.Future[T]) -> None:
        self._rate.end(done=True)
        self._turns.release()
        # Retrieve the exception, or asyncio logs it when the caller is gone.
        if not running.cancelled():
            running.exception()


async def finish_in_time(running: asyncio.Future[T], context: RequestContext) -> T:
    """Return the result of work that cannot be stopped; raises DeadlineExceeded at the deadline."""
    try:
        async with asyncio.timeout(context.deadline.remaining_s()):
            return await asyncio.shield(running)
    except TimeoutError:
        raise DeadlineExceeded("the deadline passed while the request was processed") from None
