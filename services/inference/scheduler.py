"""A bounded queue in front of an engine: which request runs when, and on how many threads.

A request that is alone runs on the full-width engine, which uses all threads. As soon as several
requests are queued, each runs on a stream, an engine with its part of the threads: a single request
takes longer, and all together take less time. An engine that processes a batch faster than its
pictures one by one runs batches on the full-width engine instead, and has no streams.

A background request runs only when no other request is queued or runs, so it delays another one by
one run at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from services.common.observe.telemetry import QueueLoad
from services.common.queue import EXPIRED_IN_QUEUE, ServiceRate, finish_in_time, start_threads
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests

# Weight of the newest run in the moving average of a batch size's duration.
_SMOOTHING = 0.2
# Background requests that may be queued. Each preprocess process sends a few at a time.
_MOST_BACKGROUND = 256

Postprocess = Callable[[list[Floats]], list[Floats]]
"""Turns the raw heads of n pictures into n arrays of detections, (k, 6) each."""


@dataclass(eq=False)
class NetworkInput:
    """The pictures of a request: pixels, or a function that makes them when the network is free."""

    pictures: int
    dtype: np.dtype[Any]
    """uint8 or float32."""
    make: Callable[[], Image]
    _images: Image | None = field(default=None, init=False)

    @classmethod
    def of(cls, images: Image) -> NetworkInput:
        """Return (n, height, width, 3) pixels as an input."""
        return cls(len(images), images.dtype, lambda: images)

    @property
    def images(self) -> Image:
        """The pixels, (n, height, width, 3); the thread that runs the network asks for them first.

        Raises what `make` raises.
        """
        # The cached_property of Python 3.11 has one lock for all inputs: one thread at a time
        # would decode a picture, and all others wait.
        if self._images is None:
            self._images = self.make()
        return self._images


@dataclass(eq=False)
class Job:
    """A queued request."""

    context: RequestContext
    input: NetworkInput
    postprocess: Postprocess
    result: asyncio.Future[list[Floats]]
    queued: float = field(default_factory=time.perf_counter)
    started: bool = False


class RunTimes(NamedTuple):
    """How long the parts of one run took, in seconds."""

    input_s: float
    """Making the pixels of picture files, and joining the pictures of several requests."""
    engine_s: float
    heads_s: float
    """Decoding the heads and NMS, of all pictures."""


@dataclass(frozen=True)
class _Run:
    """Requests that run together on an engine."""

    engine: Engine
    jobs: list[Job]

    @property
    def pictures(self) -> int:
        return sum(job.input.pictures for job in self.jobs)


@dataclass(frozen=True)
class _Outcome:
    """A completed run: its times, and for each job one (k, 6) array per picture."""

    times: RunTimes
    results: list[list[Floats]]


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
    """Queues requests for one engine, and runs them in threads.

    All methods are called on the event loop but `_run`, which is the threads'. The queue and the
    free engines are of both, behind a lock.
    """

    def __init__(
        self,
        full_width: Engine,
        *,
        max_streams: int,
        max_queued: int,
        max_batch: int,
        one_thread_streams: bool = False,
        on_run: Sequence[Callable[[int, RunTimes], None]] = (),
    ) -> None:
        """Queue at most `max_queued` requests; a batch of several has at most `max_batch` pictures.

        `partition` later creates up to `max_streams` streams, of one thread each or of more.
        `on_run` are called on the event loop after each run, with its pictures and times.
        """
        self._full_width = full_width
        self._full_width_busy = False
        self._max_batch = max_batch if full_width.batches else 1
        self.makes_inputs = one_thread_streams and not full_width.batches
        """Whether the thread that runs the network may as well make its input.

        Nothing waits for it then: a batch would, and so would a stream's other threads.
        """
        self._max_streams = max_streams
        self._streams = 0
        self._idle_streams: list[Engine] = []
        self._partition_started = False
        self._max_queued = max_queued
        self._max_in_flight = max_queued + max_streams
        self._on_run = on_run
        self._queue: deque[Job] = deque()
        # Apart, so that the expected wait and the length of the queue are those of all others.
        self._background: deque[Job] = deque()
        self._rate = ServiceRate()
        self._batch_times = BatchTimes()
        self._lock = Lock()
        self._threads = start_threads(max_streams, "engine")

    async def partition(self) -> bool:
        """Create the streams in a thread, while requests run on the full-width engine.

        Works once: returns False on every further call. Raises EngineError.
        """
        if self._max_streams <= 1 or self._partition_started:
            return False
        self._partition_started = True
        streams = await asyncio.to_thread(self._full_width.split, self._max_streams)
        with self._lock:
            self._idle_streams, self._streams = streams, len(streams)
        return True

    @property
    def streams(self) -> int:
        """How many requests run concurrently when several are queued; 1 without a partition."""
        return max(1, self._streams)

    @property
    def queued(self) -> int:
        """How many requests are queued; those that run, and background ones, are not counted."""
        return len(self._queue)

    @property
    def load(self) -> QueueLoad:
        """Length and limit of the queue, and the expected wait."""
        return QueueLoad(len(self._queue), self._max_queued, self._rate.wait_s())

    def close(self) -> None:
        """Wait for what runs, then stop the threads."""
        self._threads.shutdown()

    async def enqueue(
        self, context: RequestContext, pictures: NetworkInput, postprocess: Postprocess
    ) -> list[Floats]:
        """Queue pictures; return what `postprocess` makes of the raw heads.

        Raises TooManyRequests immediately if the queue is full or the expected wait exceeds the
        deadline, and DeadlineExceeded when the deadline passes. A request that has not started by
        then never runs. Raises also what making the input raises.
        """
        job = Job(context, pictures, postprocess, asyncio.get_running_loop().create_future())
        if context.is_background:
            self._queue_in_background(job)
        else:
            self._rate.refuse_if_late(self._max_in_flight, context.deadline.remaining_s())
            self._rate.begin()
            job.result.add_done_callback(self._count)
            with self._lock:
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

    def _queue_in_background(self, job: Job) -> None:
        with self._lock:
            if len(self._background) >= _MOST_BACKGROUND:
                raise TooManyRequests(
                    f"{_MOST_BACKGROUND} background requests are queued", 1, "queue_full"
                )
            self._background.append(job)

    def _withdraw(self, job: Job) -> None:
        """Remove a job that is still queued: its deadline has passed, or its caller has hung up."""
        queue = self._background if job.context.is_background else self._queue
        with self._lock:
            if job not in queue:
                return
            queue.remove(job)
        job.result.cancel()

    def _count(self, result: asyncio.Future[list[Floats]]) -> None:
        done = not result.cancelled() and result.exception() is None
        self._rate.end(done=done)

    def _dispatch(self) -> None:
        """Start as many queued requests as there are free engines."""
        with self._lock:
            expired = remove_expired(self._queue) + remove_expired(self._background)
            while run := self._next_run():
                self._threads.submit(self._run, asyncio.get_running_loop(), run)
        _fail_expired(expired)

    def _next_run(self) -> _Run | None:
        """Take requests from the queue for a free engine, if there are both. Needs the lock.

        The full-width engine and the streams share the same threads, so they never run together.
        """
        queue = self._queue or self._background
        if not queue or self._full_width_busy:
            return None
        idle = len(self._idle_streams) == self._streams
        if queue is self._background and not idle:
            return None
        alone = idle and (len(queue) == 1 or queue is self._background)
        if alone or not self._streams:
            self._full_width_busy = True
            run = _Run(self._full_width, take_batch(queue, self._max_batch, self._batch_times))
        elif self._idle_streams:
            run = _Run(self._idle_streams.pop(), [self._queue.popleft()])
        else:
            return None
        now = time.perf_counter()
        for job in run.jobs:
            job.started = True
            phase = "background_queue" if job.context.is_background else "queue"
            job.context.timings.record(phase, job.queued, now)
        return run

    def _run(self, loop: asyncio.AbstractEventLoop, run: _Run | None) -> None:
        """Run requests in a thread until none is queued.

        The thread takes the next request itself. When all cores work, the event loop would take a
        millisecond to hand it out, in which the engine is idle.
        """
        while run is not None:
            outcome = _attempt(run)
            with self._lock:
                self._release(run, outcome)
                expired = remove_expired(self._queue) + remove_expired(self._background)
                following = self._next_run()
            loop.call_soon_threadsafe(self._deliver, run, outcome, expired)
            run = following

    def _release(self, run: _Run, outcome: _Outcome | Exception) -> None:
        """Make the engine of a completed run free. Needs the lock."""
        if run.engine is not self._full_width:
            self._idle_streams.append(run.engine)
            return
        self._full_width_busy = False
        if not isinstance(outcome, Exception):
            self._batch_times.record(run.pictures, outcome.times.engine_s)

    def _deliver(self, run: _Run, outcome: _Outcome | Exception, expired: list[Job]) -> None:
        """Hand out the results of a run, and start what is queued on other engines."""
        _finish(run.jobs, outcome)
        _fail_expired(expired)
        self._dispatch()
        if isinstance(outcome, Exception):
            return
        # Last, so that an error in one of them fails no request. The callers go on after this turn
        # of the event loop, so they find their run counted.
        for call in self._on_run:
            call(run.pictures, outcome.times)


def remove_expired(queue: deque[Job]) -> list[Job]:
    """Remove and return the requests whose deadline has passed.

    Usually `Scheduler.enqueue` has removed them already. If the event loop is late, an engine may
    become free before their timeouts fire.
    """
    expired = [job for job in queue if job.context.deadline.left_s <= 0]
    for job in expired:
        queue.remove(job)
    return expired


def _finish(jobs: list[Job], outcome: _Outcome | Exception) -> None:
    if isinstance(outcome, Exception):
        for job in jobs:
            job.result.set_exception(outcome)
    else:
        for job, result in zip(jobs, outcome.results, strict=True):
            job.result.set_result(result)


def _fail_expired(jobs: list[Job]) -> None:
    for job in jobs:
        if not job.result.done():
            job.result.set_exception(DeadlineExceeded(EXPIRED_IN_QUEUE))


def take_batch(queue: deque[Job], max_pictures: int, times: BatchTimes) -> list[Job]:
    """Remove the next batch from the queue, in order of arrival; at least one request.

    A further request joins if its pixels have the same dtype, the batch stays within
    `max_pictures`, and the batch is expected to finish before the earliest deadline in it.
    """
    batch = [queue.popleft()]
    pictures, left_s = batch[0].input.pictures, batch[0].context.deadline.left_s
    while queue:
        job = queue[0]
        pictures += job.input.pictures
        left_s = min(left_s, job.context.deadline.left_s)
        if (
            job.input.dtype != batch[0].input.dtype
            or pictures > max_pictures
            or times.expected_s(pictures) > left_s
        ):
            break
        batch.append(queue.popleft())
    return batch


def _attempt(run: _Run) -> _Outcome | Exception:
    try:
        return run_batch(run.engine, run.jobs)
    except Exception as error:  # noqa: BLE001  # the requests of the run raise it
        return error


def run_batch(engine: Engine, jobs: list[Job]) -> _Outcome:
    """Run the pictures of all jobs as one batch."""
    began = time.perf_counter()
    inputs = [job.input.images for job in jobs]
    images: Any = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
    started = time.perf_counter()
    heads = engine.execute(images)
    ended = time.perf_counter()
    results = []
    first = 0
    for job in jobs:
        end = first + job.input.pictures
        job.context.timings.record("engine", started, ended)
        job.context.timings.describe("engine", f"{engine.name} {engine.precision}")
        with job.context.timings.measure("heads"):
            results.append(job.postprocess([head[first:end] for head in heads]))
        first = end
    times = RunTimes(started - began, ended - started, time.perf_counter() - ended)
    return _Outcome(times, results)
