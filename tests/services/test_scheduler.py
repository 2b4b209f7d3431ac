"""The queue in front of the engine, with engines that record their runs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.picture.errors import PictureUndecodable
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests
from services.inference.scheduler import (
    BatchTimes,
    Job,
    NetworkInput,
    RunTimes,
    Scheduler,
    remove_expired,
    take_batch,
)

pytestmark = pytest.mark.anyio


@dataclass
class SumEngine:
    """Its one head is the sum of each picture's pixels; a run waits until the gate is open."""

    name = "sum"
    precision = "fp32"
    device = "cpu"
    batches: bool = False
    streams: list[SumEngine] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    runs: list[list[int]] = field(default_factory=list)

    def execute(self, images: Image) -> list[Floats]:
        """Record the first pixel of each picture of the run."""
        self.runs.append([int(image.flat[0]) for image in images])
        assert self.gate.wait(20)
        return [images.reshape(len(images), -1).sum(1, dtype=np.float32)]

    def split(self, parts: int) -> list[Engine]:
        """Return the streams that the test has prepared."""
        assert parts == 2
        return list(self.streams)


def context(budget_ms: float = 20_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


def picture(number: int, dtype: str = "u1") -> Image:
    return np.full((1, 2, 2, 3), number, dtype)


def per_picture(heads: list[Floats]) -> list[Floats]:
    """Turn the head into one array for each picture."""
    return [np.atleast_1d(value) for value in heads[0]]


def sums(result: list[Floats]) -> list[float]:
    return [float(rows[0]) for rows in result]


def start(
    scheduler: Scheduler, images: Image, budget_ms: float = 20_000
) -> asyncio.Task[list[Floats]]:
    """Enqueue a request in a task of its own."""
    return asyncio.create_task(
        scheduler.enqueue(context(budget_ms), NetworkInput.of(images), per_picture)
    )


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        # Facts come from threads, which know no asyncio.Event.
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0)


@asynccontextmanager
async def scheduling(engine: SumEngine, **limits: int) -> AsyncIterator[Scheduler]:
    """Yield a scheduler whose engine is partitioned."""
    settings = {"max_streams": 2, "max_queued": 10, "max_batch": 4, **limits}
    scheduler = Scheduler(engine, **settings)
    await scheduler.partition()
    try:
        yield scheduler
    finally:
        scheduler.close()


def open_engine(**fields) -> SumEngine:  # noqa: ANN003
    engine = SumEngine(**fields)
    engine.gate.set()
    return engine


async def test_a_request_alone_runs_on_the_full_width_engine() -> None:
    engine = open_engine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        results = [await start(scheduler, picture(number)) for number in (1, 2, 3)]

    assert [sums(result) for result in results] == [[12], [24], [36]]
    assert engine.runs == [[1], [2], [3]]
    assert [stream.runs for stream in engine.streams] == [[], []]


async def test_queued_requests_run_concurrently_on_streams() -> None:
    """The first request has all threads; the queued ones then run on a stream each."""
    engine = SumEngine(streams=[SumEngine(), SumEngine()])
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(1))
        await until(lambda: engine.runs == [[1]])
        others = [start(scheduler, picture(n)) for n in (2, 3, 4)]
        await until(lambda: scheduler.queued == 3)
        engine.gate.set()
        assert sums(await first) == [12]
        await until(lambda: all(stream.runs for stream in engine.streams))
        assert scheduler.queued == 1
        for stream in engine.streams:
            stream.gate.set()
        assert [sums(result) for result in await asyncio.gather(*others)] == [[24], [36], [48]]
        assert sums(await start(scheduler, picture(5))) == [60]

    assert engine.runs == [[1], [5]]
    assert sorted(run for stream in engine.streams for run in stream.runs) == [[2], [3], [4]]


async def test_a_request_whose_deadline_passes_in_the_queue_never_runs() -> None:
    engine = SumEngine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(1))
        await until(lambda: engine.runs == [[1]])
        with pytest.raises(DeadlineExceeded, match="while the request was queued"):
            await start(scheduler, picture(2), budget_ms=500)
        assert scheduler.queued == 0
        engine.gate.set()
        await first

    assert engine.runs == [[1]]
    assert [stream.runs for stream in engine.streams] == [[], []]


async def test_an_expired_request_is_dropped_before_the_next_run() -> None:
    """As when the event loop is late: the engine is free before the timeout fires."""
    loop = asyncio.get_running_loop()
    expired, waiting = (
        Job(context(budget_ms), NetworkInput.of(picture(1)), per_picture, loop.create_future())
        for budget_ms in (0, 20_000)
    )
    queue = deque([expired, waiting])

    assert remove_expired(queue) == [expired]
    assert list(queue) == [waiting]


async def test_a_request_whose_caller_hangs_up_in_the_queue_never_runs() -> None:
    engine = SumEngine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(1))
        await until(lambda: engine.runs == [[1]])
        abandoned = start(scheduler, picture(2))
        await until(lambda: scheduler.queued == 1)
        abandoned.cancel()
        await until(lambda: scheduler.queued == 0)
        engine.gate.set()
        await first
        assert abandoned.cancelled()

    assert engine.runs == [[1]]
    assert [stream.runs for stream in engine.streams] == [[], []]


async def test_a_run_that_exceeds_the_deadline_is_not_waited_for() -> None:
    engine = SumEngine()
    async with scheduling(engine) as scheduler:
        with pytest.raises(DeadlineExceeded, match="while the request was processed"):
            await start(scheduler, picture(1), budget_ms=500)
        engine.gate.set()
        assert sums(await start(scheduler, picture(2))) == [24]

    assert engine.runs == [[1], [2]]


async def test_a_full_queue_refuses_with_a_time_to_retry() -> None:
    engine = SumEngine()
    async with scheduling(engine, max_streams=1, max_queued=2) as scheduler:
        tasks = [start(scheduler, picture(n)) for n in range(3)]
        await until(lambda: scheduler.queued == 2)
        with pytest.raises(TooManyRequests) as refused:
            await start(scheduler, picture(9))
        assert refused.value.retry_after_s >= 1
        engine.gate.set()
        await asyncio.gather(*tasks)

    assert engine.runs == [[0], [1], [2]]


async def run_queued(engine: SumEngine, *requests: Image) -> list[list[float]]:
    """Queue requests behind one that runs, and return their results."""
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(0))
        await until(lambda: len(engine.runs) == 1)
        tasks = [start(scheduler, images) for images in requests]
        await until(lambda: scheduler.queued == len(requests))
        engine.gate.set()
        await first
        return [sums(result) for result in await asyncio.gather(*tasks)]


async def test_a_batching_engine_runs_queued_requests_as_one_batch() -> None:
    """At most four pictures a batch; each request gets its own results."""
    engine = SumEngine(batches=True)
    pair = np.concatenate([picture(2), picture(3)])

    results = await run_queued(engine, picture(1), pair, picture(4), picture(5))

    assert engine.runs == [[0], [1, 2, 3, 4], [5]]
    assert results == [[12], [24, 36], [48], [60]]


async def test_a_batch_has_pixels_of_one_dtype() -> None:
    engine = SumEngine(batches=True)

    results = await run_queued(engine, picture(1), picture(2, "f4"), picture(3))

    assert engine.runs == [[0], [1], [2], [3]]
    assert results == [[12], [24], [36]]


def test_the_expected_time_of_a_batch_follows_from_other_sizes() -> None:
    """No longer than a larger batch, and no longer than its parts one by one."""
    times = BatchTimes()
    times.record(1, 1.0)

    assert times.expected_s(1) == 1
    assert times.expected_s(2) == 2
    times.record(4, 2.0)
    assert times.expected_s(2) == 2
    assert times.expected_s(3) == 2
    assert times.expected_s(8) == 4


async def test_a_batch_stays_small_enough_for_its_earliest_deadline() -> None:
    """A picture takes 4 s: with 10 s left, two fit into a batch and three do not."""
    times = BatchTimes()
    times.record(1, 4.0)
    loop = asyncio.get_running_loop()
    queue = deque(
        Job(context(budget_ms), NetworkInput.of(picture(number)), per_picture, loop.create_future())
        for number, budget_ms in ((3, 10_000), (4, 60_000), (5, 60_000))
    )

    batch = take_batch(queue, 4, times)

    assert [job.input.images.flat[0] for job in batch] == [3, 4]
    assert [job.input.images.flat[0] for job in queue] == [5]


async def test_an_engine_error_fails_its_batch_and_no_later_request() -> None:
    @dataclass
    class Failing(SumEngine):
        def execute(self, images: Image) -> list[Floats]:
            if images.flat[0] == 7:
                raise RuntimeError("out of memory")
            return super().execute(images)

    engine = Failing()
    engine.gate.set()
    async with scheduling(engine) as scheduler:
        with pytest.raises(RuntimeError, match="out of memory"):
            await start(scheduler, picture(7))
        assert sums(await start(scheduler, picture(2))) == [24]


async def test_threads_take_queued_requests_while_the_event_loop_is_busy() -> None:
    """A thread that has completed a run does not wait for the event loop to get the next one."""
    last = threading.Event()

    @dataclass
    class Noticing(SumEngine):
        def execute(self, images: Image) -> list[Floats]:
            if images.flat[0] == 4:
                last.set()
            return super().execute(images)

    streams = [Noticing(), Noticing()]
    engine = SumEngine(streams=streams)
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(0))
        await until(lambda: engine.runs == [[0]])
        others = [start(scheduler, picture(n)) for n in (1, 2, 3, 4)]
        await until(lambda: scheduler.queued == 4)
        engine.gate.set()
        await until(lambda: all(stream.runs for stream in streams))
        for stream in streams:
            stream.gate.set()
        # Blocks the event loop.
        assert last.wait(20)
        results = await asyncio.gather(first, *others)

    assert [sums(result) for result in results] == [[0], [12], [24], [36], [48]]


async def test_an_error_in_what_is_called_after_a_run_fails_no_request() -> None:
    def fail(_pictures: int, _times: RunTimes) -> None:
        raise ZeroDivisionError

    failures: list[type] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, facts: failures.append(type(facts["exception"]))
    )
    scheduler = Scheduler(open_engine(), max_streams=1, max_queued=10, max_batch=1, on_run=[fail])
    try:
        results = await asyncio.gather(*(start(scheduler, picture(n)) for n in (1, 2, 3)))
    finally:
        scheduler.close()

    assert [sums(result) for result in results] == [[12], [24], [36]]
    assert failures == [ZeroDivisionError] * 3


def later(make: Callable[[], Image]) -> NetworkInput:
    return NetworkInput(1, np.dtype("u1"), make)


async def test_the_thread_that_runs_the_network_makes_its_input_once() -> None:
    made_by: list[str] = []

    def make() -> Image:
        made_by.append(threading.current_thread().name)
        return picture(3)

    engine = open_engine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        pictures = later(make)
        result = await scheduler.enqueue(context(), pictures, per_picture)

    assert sums(result) == [36]
    assert pictures.images.flat[0] == 3
    assert [name.startswith("engine") for name in made_by] == [True]


async def test_two_threads_make_inputs_at_the_same_time() -> None:
    """Each waits until the other makes its input as well."""
    both = threading.Barrier(2)

    def make() -> Image:
        both.wait(20)
        return picture(3)

    engine = SumEngine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        first = start(scheduler, picture(1))
        await until(lambda: engine.runs == [[1]])
        others = [
            asyncio.create_task(scheduler.enqueue(context(), later(make), per_picture))
            for _ in range(2)
        ]
        await until(lambda: scheduler.queued == 2)
        engine.gate.set()
        assert sums(await first) == [12]
        assert [sums(result) for result in await asyncio.gather(*others)] == [[36], [36]]


async def test_an_input_that_cannot_be_made_fails_its_request_only() -> None:
    def fail() -> Image:
        raise PictureUndecodable("broken")

    engine = open_engine(streams=[open_engine(), open_engine()])
    async with scheduling(engine) as scheduler:
        with pytest.raises(PictureUndecodable, match="broken"):
            await scheduler.enqueue(context(), later(fail), per_picture)
        assert sums(await start(scheduler, picture(2))) == [24]

    assert engine.runs == [[2]]


@pytest.mark.parametrize(
    ("batches", "one_thread_streams", "makes"),
    [(False, True, True), (False, False, False), (True, True, False)],
)
async def test_inputs_are_made_by_the_thread_of_the_network_if_nothing_waits_for_it(
    *, batches: bool, one_thread_streams: bool, makes: bool
) -> None:
    engine = open_engine(batches=batches, streams=[open_engine(), open_engine()])
    async with scheduling(engine, one_thread_streams=one_thread_streams) as scheduler:
        assert scheduler.makes_inputs is makes
