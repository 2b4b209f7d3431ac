"""Bounded queues: the rate at which jobs are completed, and a queue in front of worker threads."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from services.common.observe.telemetry import QueueLoad
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests

T = TypeVar("T")

EXPIRED_IN_QUEUE = "the deadline passed while the request was queued"

# Time constant of the measured rate, in seconds of work: long enough to be steady at a few jobs a
# second, short enough to follow a pod that starts or ends.
_WINDOW_S = 2.0
# With little load, jobs are completed as slowly as they arrive. The best rate under load is
# remembered for that case, and loses half of its value in this many seconds of work.
_HALF_LIFE_S = 10.0
# When nothing is completed, the rate goes towards 0 and the predicted wait has no limit.
_MAX_WAIT_S = 3600.0
_MAX_RETRY_AFTER_S = 60


class ServiceRate:
    """Counts jobs in flight and measures how many are completed per second.

    By Little's law a job that arrives behind n others is done after (n + 1) / rate seconds, in
    whichever service the time is spent. Idle time does not count.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without a rate: no wait is predicted before the first job is done."""
        self._clock = clock
        self._at = clock()
        self._done = 0.0
        self._busy_s = 0.0
        self._best = 0.0
        self.in_flight = 0

    def begin(self, jobs: int = 1) -> None:
        """Count jobs as in flight."""
        self._advance()
        self.in_flight += jobs

    def end(self, jobs: int = 1, *, done: bool) -> None:
        """Count jobs as over; `done` is false for those that were never processed."""
        self._advance()
        self.in_flight -= jobs
        if done:
            self._done += jobs
            self._best = max(self._best, self._rate())

    def drop_best_rate(self) -> None:
        """Use the present rate only: a job was late or refused although it was predicted to fit."""
        self._advance()
        self._best = self._rate()

    def wait_s(self) -> float:
        """Return the predicted seconds until a job that arrives now is done.

        0 if no job is in flight or no rate is known: the first job is always admitted. At most an
        hour.
        """
        self._advance()
        if self.in_flight == 0 or self._busy_s == 0:
            return 0.0
        rate = max(self._best, self._rate())
        # Without a completed job there is no rate to predict from.
        return min(_MAX_WAIT_S, (self.in_flight + 1) / rate) if rate > 0 else 0.0

    def refuse_if_late(self, limit: int, budget_s: float, what: str = "requests queued") -> None:
        """Raise TooManyRequests if `limit` jobs are in flight, or one more would end too late.

        `what` completes "59 ..." in the message. Retry-After is when one more would be in time.
        """
        wait_s = self.wait_s()
        if self.in_flight < limit and wait_s <= budget_s:
            return
        again_s = seconds_to_wait(wait_s, budget_s)
        raise TooManyRequests(
            f"{self.in_flight} {what}, and one more would take about {wait_s:.1f} s: "
            f"try again in {again_s} s",
            again_s,
            "queue_full" if self.in_flight >= limit else "would_be_late",
        )

    def _rate(self) -> float:
        return self._done / self._busy_s if self._busy_s > 0 else 0.0

    def _advance(self) -> None:
        now = self._clock()
        spent, self._at = now - self._at, now
        if self.in_flight == 0 or spent <= 0:
            return
        keep = math.exp(-spent / _WINDOW_S)
        self._done *= keep
        # The integral of what is kept of each moment: exact for any step.
        self._busy_s = self._busy_s * keep + _WINDOW_S * (1 - keep)
        self._best *= 0.5 ** (spent / _HALF_LIFE_S)


def seconds_to_wait(wait_s: float, budget_s: float) -> int:
    """Return Retry-After: whole seconds until a wait of `wait_s` has shrunk to `budget_s`.

    From 1 to 60: a prediction of more is of a service that stands still, and may soon go on.
    """
    return min(_MAX_RETRY_AFTER_S, max(1, math.ceil(wait_s - budget_s)))


def start_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return an executor all of whose threads run; raises RuntimeError if one cannot start.

    By itself it starts them with the first jobs. If the system refused one by then, the job would
    be lost, and whatever it holds.
    """
    threads = ThreadPoolExecutor(count, thread_name_prefix=name)
    together = threading.Barrier(count + 1)
    try:
        for _ in range(count):
            threads.submit(together.wait)
    except RuntimeError:
        together.abort()
        raise
    together.wait()
    return threads


class ByteBudget:
    """Memory that jobs take one after another: first come, first served.

    A job that needs more than is left waits, and those behind it wait as well, however small: no
    size is starved.
    """

    def __init__(self, limit: int) -> None:
        """Let all jobs together take `limit` bytes."""
        self.limit = limit
        self._free = limit
        self._waiting: dict[asyncio.Future[None], int] = {}

    async def take(self, size: int) -> None:
        """Take `size` bytes, at most `limit`, when they are free."""
        if not self._waiting and size <= self._free:
            self._free -= size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = size
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled():
                # It was served in the moment in which it was cancelled.
                self._free += size
            self._serve()
            raise

    def give_back(self, size: int) -> None:
        """Return what `take` has taken."""
        self._free += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            turn, size = next(iter(self._waiting.items()))
            # A cancelled job may not have run since.
            if not turn.cancelled():
                if size > self._free:
                    return
                self._free -= size
                turn.set_result(None)
            del self._waiting[turn]


class WorkQueue:
    """Runs jobs in threads, so that the event loop answers probes while all workers are busy."""

    def __init__(
        self, name: str, *, workers: int, max_waiting: int, memory: ByteBudget | None = None
    ) -> None:
        """Run `workers` jobs at a time and let `max_waiting` wait; `name` is for Server-Timing.

        Jobs share `memory` with those of other queues.
        """
        self.name = name
        self._limit = workers + max_waiting
        self._turns = asyncio.Semaphore(workers)
        self._workers = workers
        self._memory = memory
        self._rate = ServiceRate()
        self._threads = start_threads(workers, name)

    @property
    def load(self) -> QueueLoad:
        """The jobs that wait, their limit, and the predicted wait."""
        waiting = max(0, self._rate.in_flight - self._workers)
        return QueueLoad(waiting, self._limit - self._workers, self._rate.wait_s())

    def close(self) -> None:
        """Finish the running jobs and stop the threads."""
        self._threads.shutdown()

    async def run_job(self, context: RequestContext, job: Callable[[], T], size: int = 0) -> T:
        """Run `job` in a worker thread when a worker is free, and return its result.

        The job starts when `size` bytes of the queue's memory are free. Raises TooManyRequests
        immediately if the queue is full or its predicted wait exceeds the request's deadline.
        Raises DeadlineExceeded at the deadline: a job that is still queued never runs, a running
        one continues without its caller.
        """
        self._rate.refuse_if_late(self._limit, context.deadline.remaining_s())
        self._rate.begin()
        try:
            await self._wait_for_turn(context, size)
        except BaseException:
            self._rate.end(done=False)
            raise
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        # A thread cannot be stopped: the worker is free when the job ends, even without its caller.
        running.add_done_callback(partial(self._end_turn, size))
        return await finish_in_time(running, context)

    async def _wait_for_turn(self, context: RequestContext, size: int) -> None:
        with context.timings.measure(self.name):
            try:
                async with asyncio.timeout(context.deadline.remaining_s()):
                    await self._turns.acquire()
                    await self._take_memory(size)
            except TimeoutError:
                raise DeadlineExceeded(EXPIRED_IN_QUEUE) from None

    async def _take_memory(self, size: int) -> None:
        if self._memory is None:
            return
        try:
            await self._memory.take(size)
        except BaseException:
            self._turns.release()
            raise

    def _end_turn(self, size: int, running: asyncio.Future[T]) -> None:
        self._rate.end(done=True)
        self._turns.release()
        if self._memory is not None:
            self._memory.give_back(size)
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
