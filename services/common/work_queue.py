"""A bounded queue in front of a few worker threads."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from services.common.context import RequestContext
from services.common.errors import DeadlineExceeded, TooManyRequests

T = TypeVar("T")

# How fast the remembered duration of a job follows new ones.
_SMOOTHING = 0.1


class WorkQueue:
    """Runs jobs off the event loop, so that probes answer while all workers are busy."""

    def __init__(self, name: str, *, workers: int, max_waiting: int) -> None:
        """Let `workers` jobs run and `max_waiting` wait; `name` is the wait in Server-Timing."""
        self._name = name
        self._workers = workers
        self._limit = workers + max_waiting
        self._turns = asyncio.Semaphore(workers)
        self._admitted = 0
        self._job_s = 0.1
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=name)

    def close(self) -> None:
        """Finish the running jobs and stop the threads."""
        self._threads.shutdown()

    async def run(self, context: RequestContext, job: Callable[[], T]) -> T:
        """Run `job` in a worker thread when it is its turn, and return what it returns.

        Raises TooManyRequests at once if the queue is full, and DeadlineExceeded, without having
        run the job, if the caller's time is up before its turn.
        """
        if self._admitted >= self._limit:
            raise self._full()
        self._admitted += 1
        try:
            await self._wait_for_turn(context)
            try:
                context.deadline.remaining_s()
                return await self._run_now(job)
            finally:
                self._turns.release()
        finally:
            self._admitted -= 1

    def _full(self) -> TooManyRequests:
        wait_s = max(1, math.ceil(self._admitted * self._job_s / self._workers))
        return TooManyRequests(
            f"{self._admitted} requests are waiting already: try again in {wait_s} s", wait_s
        )

    async def _wait_for_turn(self, context: RequestContext) -> None:
        with context.timings.measure(self._name):
            try:
                await asyncio.wait_for(self._turns.acquire(), context.deadline.remaining_s())
            except TimeoutError:
                raise DeadlineExceeded("the time for this request was up in the queue") from None

    async def _run_now(self, job: Callable[[], T]) -> T:
        started = time.perf_counter()
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            # A thread cannot be stopped: keep its turn until it is done.
            await asyncio.wait([running])
            raise
        finally:
            spent = time.perf_counter() - started
            self._job_s += _SMOOTHING * (spent - self._job_s)
