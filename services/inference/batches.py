"""Which of the waiting requests run together, and the run itself."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.engines.base import Engine
from services.common.request.context import RequestContext
from services.common.request.errors import DeadlineExceeded

# How fast the remembered duration of a batch follows new ones.
_SMOOTHING = 0.2

Finish = Callable[[list[Floats]], list[Floats]]
"""Turns the raw heads of some pictures into one (k, 6) array for each."""


@dataclass(eq=False)
class Job:
    """A request that waits for the engine. `images` is (n, height, width, 3)."""

    context: RequestContext
    images: Image
    finish: Finish
    answer: asyncio.Future[list[Floats]]
    queued: float = field(default_factory=time.perf_counter)


class BatchTimes:
    """How long the engine takes for how many pictures, as seen so far."""

    def __init__(self) -> None:
        """Know nothing: no batch is thought to take any time."""
        self._seconds: dict[int, float] = {}

    def note(self, pictures: int, seconds: float) -> None:
        """Remember a run."""
        known = self._seconds.get(pictures, seconds)
        self._seconds[pictures] = known + _SMOOTHING * (seconds - known)

    def expected_s(self, pictures: int) -> float:
        """Return the least upper bound that follows from what is known.

        A batch takes no longer than a larger one, and no longer than its parts one by one.
        """
        bounds = (seconds * max(1.0, pictures / known) for known, seconds in self._seconds.items())
        return min(bounds, default=0.0)


def drop_late(waiting: deque[Job]) -> None:
    """Take those out of the queue whose time is up: the engine is for the others."""
    for job in [job for job in waiting if job.context.deadline.left_s <= 0]:
        waiting.remove(job)
        late = DeadlineExceeded("the time for this request was up in the queue")
        if not job.answer.done():
            job.answer.set_exception(late)


def take_batch(waiting: deque[Job], max_pictures: int, times: BatchTimes) -> list[Job]:
    """Take what runs next, in order of arrival: at least the first request.

    Another one joins while all pictures are of one type, are not too many, and are expected to be
    done before anybody's time in the batch is up.
    """
    batch = [waiting.popleft()]
    pictures, left_s = len(batch[0].images), batch[0].context.deadline.left_s
    while waiting:
        job = waiting[0]
        pictures += len(job.images)
        left_s = min(left_s, job.context.deadline.left_s)
        if (
            job.images.dtype != batch[0].images.dtype
            or pictures > max_pictures
            or times.expected_s(pictures) > left_s
        ):
            break
        batch.append(waiting.popleft())
    return batch


def run_batch(engine: Engine, jobs: list[Job]) -> tuple[float, list[list[Floats]]]:
    """Run the pictures of all jobs as one; return the engine's seconds and each job's answer."""
    images = jobs[0].images if len(jobs) == 1 else np.concatenate([job.images for job in jobs])
    started = time.perf_counter()
    heads = engine.execute(images)
    ended = time.perf_counter()
    answers = []
    first = 0
    for job in jobs:
        end = first + len(job.images)
        job.context.timings.record("engine", started, ended)
        with job.context.timings.measure("heads"):
            answers.append(job.finish([head[first:end] for head in heads]))
        first = end
    return ended - started, answers
