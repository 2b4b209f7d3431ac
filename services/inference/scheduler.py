"""A bounded queue in front of an engine: which request runs when, and on how many threads.

A request that is alone runs on the full-width engine, which uses all threads. As soon as several
requests are queued, each runs on a stream, an engine with its part of the threads: a single request
takes longer, and all together take less time. An engine that processes a batch faster than its
pictures one by one runs batches on the full-width engine instead, and has no streams.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from services.common.observe.telemetry import QueueLoad
from services.common.queue import EXPIRED_IN_QUEUE, ServiceRate, finish_in_time, start_threads
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded

# Weight of the newest run in the moving average of a batch size's duration.
_SMOOTHING = 0.2

Postprocess = Callable[[list[Floats]], list[Floats]]
"""Turns the raw heads of n pictures into n arrays of detections, (k, 6) each."""


@dataclass(eq=False)
class Job:
    """A queued request. `images` is (n, height, width, 3), uint8 or float32."""

    context: RequestContext
    images: Image
    postprocess: Postprocess
    result: asyncio.Future[list[Floats]]
    queued: float = field(default_factory=time.perf_counter)
    started: bool = False


class RunTimes(NamedTuple):
    """How long the parts of one run took, in seconds."""

    join_s: float
    """Joining the pictures of several requests."""
    engine_s: float
    heads_s: float
    """Decoding the heads and NMS, of all pictures."""


class BatchTimes:
    """The measured duration of a run by its number of pictures, as a moving average."""

    def __init__(self) -> None:
        """Start without measurements: every batch is expected to take 0 seconds."""
        self._seconds: dict[int, float] = {}

    def record(self, pictures: int, seconds: float) -> None:
        """Add the duration of a run."""
        average = self._seconds.get(pictures, seconds)
        self._seconds[pictures] = average + _SMOOTHING * (seconds - average)

    def expected_s(self, pictures: int) -> float:
        """Return the lowest upper bound that the measurements give for a batch, in seconds.

        A batch takes no longer than a larger one, and no longer than its parts one by one.
        """
        bounds = (
            seconds * max(1.0, pictures / measured) for measured, seconds in self._seconds.items()
        )
        return min(bounds, default=0.0)


class Scheduler:
    """Queues requests for one engine. Its state belongs to the event loop; runs are in threads."""

    def __init__(
        self,
        full_width: Engine,
        *,
        max_streams: int,
        max_queued: int,
        max_batch: int,
        on_run: Sequence[Callable[[int, RunTimes], None]] = (),
    ) -> None:
        """Queue at most `max_queued` requests; a batch of several has at most `max_batch` pictures.

        `partition` later creates up to `max_streams` streams. `on_run` are called on the event
        loop after each run, with its pictures and times.
        """
        self._full_width = full_width
        self._full_width_busy = False
        self._max_batch = max_batch if full_width.batches else 1
        self._max_streams = max_streams
        self._streams = 0
        self._idle_streams: list[Engine] = []
        self._partition_started = False
        self._max_queued = max_queued
        self._max_in_flight = max_queued + max_streams
        self._on_run = on_run
        self._queue: deque[Job] = deque()
        self._rate = ServiceRate()
        self._times = BatchTimes()
        self._threads = start_threads(max_streams, "engine")

    async def partition(self) -> bool:
        """Create the streams in a thread, while requests run on the full-width engine.

        Works once: returns False on every further call. Raises EngineError.
        """
        if self._max_streams <= 1 or self._partition_started:
            return False
        self._partition_started = True
        streams = await asyncio.to_thread(self._full_width.split, self._max_streams)
        self._idle_streams, self._streams = streams, len(streams)
        return True

    @property
    def streams(self) -> int:
        """How many requests run concurrently when several are queued; 1 without a partition."""
        return max(1, self._streams)

    @property
    def queued(self) -> int:
        """How many requests are queued; those that run are not counted."""
        return len(self._queue)

    @property
    def load(self) -> QueueLoad:
        """Length and limit of the queue, and the expected wait."""
        return QueueLoad(len(self._queue), self._max_queued, self._rate.wait_s())

    def close(self) -> None:
        """Wait for what runs, then stop the threads."""
        self._threads.shutdown()

    async def enqueue(
        self, context: RequestContext, images: Image, postprocess: Postprocess
    ) -> list[Floats]:
        """Queue (n, height, width, 3) pixels; return what `postprocess` makes of the raw heads.

        Raises TooManyRequests immediately if the queue is full or the expected wait exceeds the
        deadline, and DeadlineExceeded when the deadline passes. A request that has not started by
        then never runs.
        """
        self._rate.refuse_if_late(self._max_in_flight, context.deadline.remaining_s())
        job = Job(context, images, postprocess, asyncio.get_running_loop().create_future())
        self._rate.begin()
        job.result.add_done_callback(self._count)
        self._queue.append(job)
        self._dispatch()
        try:
            return await finish_in_time(job.result, context)
        except DeadlineExceeded:
            if job.started:
                raise
            raise DeadlineExceeded(EXPIRED_IN_QUEUE) from None
        finally:
            self._withdraw(job)

    def _withdraw(self, job: Job) -> None:
        """Remove a job that is still queued: its deadline has passed, or its caller has hung up."""
        if job in self._queue:
            self._queue.remove(job)
            job.result.cancel()

    def _count(self, result: asyncio.Future[list[Floats]]) -> None:
        done = not result.cancelled() and result.exception() is None
        self._rate.end(done=done)

    def _dispatch(self) -> None:
        """Start as many queued requests as there are free engines.

        The full-width engine and the streams share the same threads, so they never run together.
        """
        drop_expired(self._queue)
        while self._queue and not self._full_width_busy:
            alone = len(self._queue) == 1 and len(self._idle_streams) == self._streams
            if alone or not self._streams:
                batch = take_batch(self._queue, self._max_batch, self._times)
                self._start(self._full_width, batch)
                self._full_width_busy = True
            elif self._idle_streams:
                self._start(self._idle_streams.pop(), [self._queue.popleft()])
            else:
                return

    def _start(self, engine: Engine, jobs: list[Job]) -> None:
        now = time.perf_counter()
        for job in jobs:
            job.started = True
            job.context.timings.record("queue", job.queued, now)
        run = asyncio.get_running_loop().run_in_executor(self._threads, run_batch, engine, jobs)
        run.add_done_callback(lambda _: self._end(engine, jobs, run))

    def _end(
        self,
        engine: Engine,
        jobs: list[Job],
        run: asyncio.Future[tuple[RunTimes, list[list[Floats]]]],
    ) -> None:
        """Free the engine, hand out the results, and start what is queued."""
        if engine is self._full_width:
            self._full_width_busy = False
        else:
            self._idle_streams.append(engine)
        error = run.exception()
        if error is None:
            times, results = run.result()
            pictures = sum(len(job.images) for job in jobs)
            for call in self._on_run:
                call(pictures, times)
            if engine is self._full_width:
                self._times.record(pictures, times.engine_s)
            for job, result in zip(jobs, results, strict=True):
                job.result.set_result(result)
        else:
            for job in jobs:
                job.result.set_exception(error)
        self._dispatch()


def drop_expired(queue: deque[Job]) -> None:
    """Remove the requests whose deadline has passed, and fail them with DeadlineExceeded.

    Usually `Scheduler.enqueue` has removed them already. If the event loop is late, an engine may
    become free before their timeouts fire.
    """
    for job in [job for job in queue if job.context.deadline.left_s <= 0]:
        queue.remove(job)
        if not job.result.done():
            job.result.set_exception(DeadlineExceeded(EXPIRED_IN_QUEUE))


def take_batch(queue: deque[Job], max_pictures: int, times: BatchTimes) -> list[Job]:
    """Remove the next batch from the queue, in order of arrival; at least one request.

    A further request joins if its pixels have the same dtype, the batch stays within
    `max_pictures`, and the batch is expected to finish before the earliest deadline in it.
    """
    batch = [queue.popleft()]
    pictures, left_s = len(batch[0].images), batch[0].context.deadline.left_s
    while queue:
        job = queue[0]
        pictures += len(job.images)
        left_s = min(left_s, job.context.deadline.left_s)
        if (
            job.images.dtype != batch[0].images.dtype
            or pictures > max_pictures
            or times.expected_s(pictures) > left_s
        ):
            break
        batch.append(queue.popleft())
    return batch


def run_batch(engine: Engine, jobs: list[Job]) -> tuple[RunTimes, list[list[Floats]]]:
    """Run the pictures of all jobs as one batch.

    Returns its times, and for each job one (k, 6) array per picture.
    """
    began = time.perf_counter()
    images = jobs[0].images if len(jobs) == 1 else np.concatenate([job.images for job in jobs])
    started = time.perf_counter()
    heads = engine.execute(images)
    ended = time.perf_counter()
    results = []
    first = 0
    for job in jobs:
        end = first + len(job.images)
        job.context.timings.record("engine", started, ended)
        with job.context.timings.measure("heads"):
            results.append(job.postprocess([head[first:end] for head in heads]))
        first = end
    return RunTimes(started - began, ended - started, time.perf_counter() - ended), results
