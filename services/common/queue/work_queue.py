"""A bounded queue in front of a few worker threads."""

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
    """Runs jobs off the event loop, so that probes answer while all workers are busy."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        """Let `workers` jobs run and `max_waiting` wait; `name` is the wait in Server-Timing."""
        self.name = name
        self._limit = workers + max_waiting
        self._turns = asyncio.Semaphore(workers)
        self._workers = workers
        self._rate = ServiceRate()
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)

    @property
    def load(self) -> QueueLoad:
        """How full it is."""
        waiting = max(0, self._rate.in_flight - self._workers)
        return QueueLoad(waiting, self._limit - self._workers, self._rate.wait_s())

    def close(self) -> None:
        """Finish the running jobs and stop the threads."""
        self._threads.shutdown()

    async def run(self, context: RequestContext, job: Callable[[], T]) -> T:
        """Run `job` in a worker thread when it is its turn, and return what it returns.

        Raises TooManyRequests at once if the queue is full or too long for the caller's time, and
        DeadlineExceeded when that time is up: before the job's turn without having run it, later
        without waiting for it.
        """
        self._rate.refuse_if_late(self._limit, context.deadline.remaining_s())
        self._rate.begin()
        try:
            await self._wait_for_turn(context)
        except BaseException:
            self._rate.end(done=False)
            raise
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        # A thread cannot be stopped: its turn ends with the job, whoever still waits for it.
        running.add_done_callback(self._end_turn)
        return await finish_in_time(running, context)

    async def _wait_for_turn(self, context: RequestContext) -> None:
        with context.timings.measure(self.name):
            try:
                async with asyncio.timeout(context.deadline.remaining_s()):
                    await self._turns.acquire()
            except TimeoutError:
                raise DeadlineExceeded("the time for this request was up in the queue") from None

    def _end_turn(self, running: asyncio.Future[T]) -> None:
        self._rate.end(done=True)
        self._turns.release()
        # Asked for, so that an error that nobody waits for any more is not reported as forgotten.
        if not running.cancelled():
            running.exception()


async def finish_in_time(running: asyncio.Future[T], context: RequestContext) -> T:
    """Return the result of work that cannot be stopped, or raise DeadlineExceeded without it."""
    try:
        async with asyncio.timeout(context.deadline.remaining_s()):
            return await asyncio.shield(running)
    except TimeoutError:
        raise DeadlineExceeded("the time for this request was up while it was worked on") from None
