"""Which requests run when, and on how much of the engine.

While one request is alone, all threads work on it. As soon as several wait, each gets a share of
the threads: that takes longer for each and is faster for all. An engine that takes less time for a
batch than for its pictures gets what waits as a batch instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from services.common.observe.telemetry import QueueLoad
from services.common.queue import ServiceRate, finish_in_time
from services.common.request.context import RequestContext
from services.inference.batches import (
    BatchTimes,
    Finish,
    Job,
    drop_late,
    run_batch,
    take_batch,
)


class Scheduler:
    """A bounded queue in front of an engine; everything but the runs is on the event loop."""

    def __init__(
        self,
        whole: Engine,
        *,
        shares: int,
        max_waiting: int,
        max_batch: int,
        ran: Callable[[int, float], None] = lambda _pictures, _seconds: None,
    ) -> None:
        """Let `max_waiting` requests wait; a batch of several has at most `max_batch` pictures.

        `shares` is how many requests may run at once, once `split` has been called. `ran` is told
        of each run, on the event loop: pictures and seconds.
        """
        self._whole = whole
        self._max_batch = max_batch if whole.batches else 1
        self._free: list[Engine] = []
        self._shares = 0
        self._whole_runs = False
        self._max_waiting = max_waiting
        self._limit = max_waiting + shares
        self._ran = ran
        self._waiting: deque[Job] = deque()
        self._rate = ServiceRate()
        self._times = BatchTimes()
        self._threads = ThreadPoolExecutor(shares, thread_name_prefix="engine")
        self._wanted_shares = shares
        self._splitting = False

    async def split(self) -> bool:
        """Get ready for several requests at once, while the first ones are served already.

        Once, however often it is called; returns whether it was now. Raises EngineError.
        """
        if self._wanted_shares <= 1 or self._splitting:
            return False
        self._splitting = True
        free = await asyncio.to_thread(self._whole.split, self._wanted_shares)
        self._free, self._shares = free, len(free)
        return True

    @property
    def shares(self) -> int:
        """How many requests run at once when several wait; 1 where the engine cannot be split."""
        return max(1, self._shares)

    @property
    def waiting(self) -> int:
        """How many requests wait for the engine."""
        return len(self._waiting)

    @property
    def load(self) -> QueueLoad:
        """How full the queue is."""
        return QueueLoad(len(self._waiting), self._max_waiting, self._rate.wait_s())

    def close(self) -> None:
        """Finish what runs and stop the threads."""
        self._threads.shutdown()

    async def run(self, context: RequestContext, images: Image, finish: Finish) -> list[Floats]:
        """Run (n, height, width, 3) pixels and return what `finish` makes of the raw heads.

        Raises TooManyRequests at once if too many wait or it would take too long, and
        DeadlineExceeded when the caller's time is up; what has not begun by then never runs.
        """
        self._rate.refuse_if_late(self._limit, context.deadline.remaining_s())
        job = Job(context, images, finish, asyncio.get_running_loop().create_future())
        self._rate.begin()
        job.answer.add_done_callback(self._count)
        self._waiting.append(job)
        self._dispatch()
        try:
            return await finish_in_time(job.answer, context)
        finally:
            if job in self._waiting:
                # Nobody waits for it any more: the time is up, or the caller has gone.
                self._waiting.remove(job)
                job.answer.cancel()

    def _count(self, answer: asyncio.Future[list[Floats]]) -> None:
        done = not answer.cancelled() and answer.exception() is None
        self._rate.end(done=done)

    def _dispatch(self) -> None:
        drop_late(self._waiting)
        while self._waiting and not self._whole_runs:
            alone = len(self._waiting) == 1 and len(self._free) == self._shares
            if alone or not self._shares:
                self._start(self._whole, take_batch(self._waiting, self._max_batch, self._times))
                self._whole_runs = True
            elif self._free:
                self._start(self._free.pop(), [self._waiting.popleft()])
            else:
                return

    def _start(self, engine: Engine, jobs: list[Job]) -> None:
        now = time.perf_counter()
        for job in jobs:
            job.context.timings.record("queue", job.queued, now)
        run = asyncio.get_running_loop().run_in_executor(self._threads, run_batch, engine, jobs)
        run.add_done_callback(lambda _: self._end(engine, jobs, run))

    def _end(
        self, engine: Engine, jobs: list[Job], run: asyncio.Future[tuple[float, list[list[Floats]]]]
    ) -> None:
        if engine is self._whole:
            self._whole_runs = False
        else:
            self._free.append(engine)
        error = run.exception()
        if error is None:
            seconds, answers = run.result()
            pictures = sum(len(job.images) for job in jobs)
            self._ran(pictures, seconds)
            if engine is self._whole:
                self._times.note(pictures, seconds)
            for job, answer in zip(jobs, answers, strict=True):
                job.answer.set_result(answer)
        else:
            for job in jobs:
                job.answer.set_exception(error)
        self._dispatch()
