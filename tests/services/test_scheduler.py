"""The queue in front of the engine, with engines that tell what they are asked to do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import DeadlineExceeded, TooManyRequests
from services.inference.batches import BatchTimes
from services.inference.scheduler import Scheduler


@dataclass
class SumEngine:
    """Its one head is the sum of each picture's pixels; it waits until it is let go."""

    name = "sum"
    precision = "fp32"
    device = "cpu"
    batches: bool = False
    parts: list[SumEngine] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    runs: list[list[int]] = field(default_factory=list)

    def execute(self, images: Image) -> list[Floats]:
        """Note which pictures come together, by their first pixel."""
        self.runs.append([int(image.flat[0]) for image in images])
        assert self.gate.wait(20)
        return [images.reshape(len(images), -1).sum(1, dtype=np.float32)]

    def split(self, parts: int) -> list[Engine]:
        """Return what the test has prepared."""
        assert parts == 2
        return list(self.parts)


def context(budget_ms: float = 20_000) -> RequestContext:
    return RequestContext("0" * 32, Deadline.after_ms(budget_ms))


def picture(number: int, dtype: str = "u1") -> Image:
    return np.full((1, 2, 2, 3), number, dtype)


def as_answer(heads: list[Floats]) -> list[Floats]:
    """Turn the head into one array for each picture."""
    return [np.atleast_1d(value) for value in heads[0]]


def sums(answer: list[Floats]) -> list[float]:
    return [float(rows[0]) for rows in answer]


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        # Facts come from threads, which know no asyncio.Event.
        while not fact():  # noqa: ASYNC110
            await asyncio.sleep(0)


def schedule(scenario: Callable[[Scheduler], Awaitable[None]], engine: SumEngine, **limits) -> None:  # noqa: ANN003
    """Run a scenario with a scheduler that is ready."""

    async def whole() -> None:
        settings = {"shares": 2, "max_waiting": 10, "max_batch": 4, **limits}
        scheduler = Scheduler(engine, **settings)
        await scheduler.split()
        await scenario(scheduler)
        scheduler.close()

    asyncio.run(whole())


def open_engine(**fields) -> SumEngine:  # noqa: ANN003
    engine = SumEngine(**fields)
    engine.gate.set()
    return engine


def test_a_request_alone_has_the_whole_engine() -> None:
    engine = open_engine(parts=[open_engine(), open_engine()])

    async def scenario(scheduler: Scheduler) -> None:
        for number in (1, 2, 3):
            assert sums(await scheduler.run(context(), picture(number), as_answer)) == [12 * number]

    schedule(scenario, engine)

    assert engine.runs == [[1], [2], [3]]
    assert [part.runs for part in engine.parts] == [[], []]


def test_requests_that_wait_together_share_it() -> None:
    """The first has it all; the others wait, then run side by side on a part each."""
    engine = SumEngine(parts=[SumEngine(), SumEngine()])

    async def scenario(scheduler: Scheduler) -> None:
        first = asyncio.create_task(scheduler.run(context(), picture(1), as_answer))
        await until(lambda: engine.runs == [[1]])
        others = [
            asyncio.create_task(scheduler.run(context(), picture(n), as_answer)) for n in (2, 3, 4)
        ]
        await until(lambda: scheduler.waiting == 3)
        engine.gate.set()
        assert sums(await first) == [12]
        await until(lambda: all(part.runs for part in engine.parts))
        assert scheduler.waiting == 1
        for part in engine.parts:
            part.gate.set()
        assert [sums(answer) for answer in await asyncio.gather(*others)] == [[24], [36], [48]]
        assert sums(await scheduler.run(context(), picture(5), as_answer)) == [60]

    schedule(scenario, engine)

    assert engine.runs == [[1], [5]]
    assert sorted(run for part in engine.parts for run in part.runs) == [[2], [3], [4]]


def test_what_is_late_never_runs() -> None:
    engine = SumEngine(parts=[open_engine(), open_engine()])

    async def scenario(scheduler: Scheduler) -> None:
        first = asyncio.create_task(scheduler.run(context(), picture(1), as_answer))
        await until(lambda: engine.runs == [[1]])
        with pytest.raises(DeadlineExceeded):
            await scheduler.run(context(30), picture(2), as_answer)
        engine.gate.set()
        await first

    schedule(scenario, engine)

    assert engine.runs == [[1]]
    assert [part.runs for part in engine.parts] == [[], []]


def test_the_work_of_a_caller_who_has_gone_never_runs() -> None:
    engine = SumEngine(parts=[open_engine(), open_engine()])

    async def scenario(scheduler: Scheduler) -> None:
        first = asyncio.create_task(scheduler.run(context(), picture(1), as_answer))
        await until(lambda: engine.runs == [[1]])
        gone = asyncio.create_task(scheduler.run(context(), picture(2), as_answer))
        await until(lambda: scheduler.waiting == 1)
        gone.cancel()
        await until(lambda: scheduler.waiting == 0)
        engine.gate.set()
        await first
        assert gone.cancelled()

    schedule(scenario, engine)

    assert engine.runs == [[1]]
    assert [part.runs for part in engine.parts] == [[], []]


def test_a_run_that_takes_too_long_is_not_waited_for() -> None:
    engine = SumEngine()

    async def scenario(scheduler: Scheduler) -> None:
        with pytest.raises(DeadlineExceeded, match="while the request was processed"):
            await scheduler.run(context(500), picture(1), as_answer)
        engine.gate.set()
        assert sums(await scheduler.run(context(), picture(2), as_answer)) == [24]

    schedule(scenario, engine)

    assert engine.runs == [[1], [2]]


def test_one_too_many_is_told_when_to_come_back() -> None:
    engine = SumEngine()

    async def scenario(scheduler: Scheduler) -> None:
        tasks = [
            asyncio.create_task(scheduler.run(context(), picture(n), as_answer)) for n in range(3)
        ]
        await until(lambda: scheduler.waiting == 2)
        with pytest.raises(TooManyRequests) as refused:
            await scheduler.run(context(), picture(9), as_answer)
        assert refused.value.retry_after_s >= 1
        engine.gate.set()
        await asyncio.gather(*tasks)

    schedule(scenario, engine, shares=1, max_waiting=2)

    assert engine.runs == [[0], [1], [2]]


def batching_scenario(
    engine: SumEngine, requests: list[tuple[RequestContext, Image]]
) -> list[list[float]]:
    """Let one request run, the given ones wait behind it, and return their answers."""
    answers: list[list[float]] = []

    async def scenario(scheduler: Scheduler) -> None:
        first = asyncio.create_task(scheduler.run(context(), picture(0), as_answer))
        await until(lambda: len(engine.runs) == 1)
        tasks = [
            asyncio.create_task(scheduler.run(who, images, as_answer)) for who, images in requests
        ]
        await until(lambda: scheduler.waiting == len(requests))
        engine.gate.set()
        await first
        answers.extend([sums(answer) for answer in await asyncio.gather(*tasks)])

    schedule(scenario, engine)
    return answers


def test_an_engine_that_likes_batches_gets_what_waits_as_one() -> None:
    """At most four pictures; each gets its own answer, in whichever batch it was."""
    engine = SumEngine(batches=True)
    pair = np.concatenate([picture(2), picture(3)])

    answers = batching_scenario(
        engine, [(context(), images) for images in (picture(1), pair, picture(4), picture(5))]
    )

    assert engine.runs == [[0], [1, 2, 3, 4], [5]]
    assert answers == [[12], [24, 36], [48], [60]]


def test_pixels_of_two_kinds_are_never_in_one_batch() -> None:
    engine = SumEngine(batches=True)

    answers = batching_scenario(
        engine, [(context(), picture(1)), (context(), picture(2, "f4")), (context(), picture(3))]
    )

    assert engine.runs == [[0], [1], [2], [3]]
    assert answers == [[12], [24], [36]]


def test_a_batch_is_expected_to_take_what_follows_from_others() -> None:
    """No longer than a larger one, and no longer than its parts one by one."""
    times = BatchTimes()
    times.note(1, 1.0)

    assert times.expected_s(1) == 1
    assert times.expected_s(2) == 2
    times.note(4, 2.0)
    assert times.expected_s(2) == 2
    assert times.expected_s(3) == 2
    assert times.expected_s(8) == 4


def test_a_batch_stays_small_for_somebody_in_a_hurry() -> None:
    """A picture takes 0.4 s, as far as is known: within a second there is time for two."""
    engine = SumEngine(batches=True)

    async def scenario(scheduler: Scheduler) -> None:
        # Half a second for one picture, as far as is known.
        opened = threading.Timer(0.5, engine.gate.set)
        opened.start()
        await scheduler.run(context(), picture(1), as_answer)
        engine.gate.clear()
        first = asyncio.create_task(scheduler.run(context(), picture(2), as_answer))
        await until(lambda: len(engine.runs) == 2)
        hurried = asyncio.create_task(scheduler.run(context(1000), picture(3), as_answer))
        patient = [
            asyncio.create_task(scheduler.run(context(), picture(n), as_answer)) for n in (4, 5)
        ]
        await until(lambda: scheduler.waiting == 3)
        engine.gate.set()
        await asyncio.gather(first, hurried, *patient)

    schedule(scenario, engine)

    assert engine.runs == [[1], [2], [3, 4], [5]]


def test_an_error_of_the_engine_is_everybodys_in_its_batch_and_nobodys_after() -> None:
    @dataclass
    class Failing(SumEngine):
        def execute(self, images: Image) -> list[Floats]:
            if images.flat[0] == 7:
                raise RuntimeError("out of memory")
            return super().execute(images)

    engine = Failing()
    engine.gate.set()

    async def scenario(scheduler: Scheduler) -> None:
        with pytest.raises(RuntimeError, match="out of memory"):
            await scheduler.run(context(), picture(7), as_answer)
        assert sums(await scheduler.run(context(), picture(2), as_answer)) == [24]

    schedule(scenario, engine)
