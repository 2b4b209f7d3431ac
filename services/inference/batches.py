"""Choose which queued requests run together, and run them as one batch."""

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


def drop_expired(queue: deque[Job]) -> None:
    """Remove the requests whose deadline has passed, and fail them with DeadlineExceeded."""
    for job in [job for job in queue if job.context.deadline.left_s <= 0]:
        queue.remove(job)
        if not job.result.done():
            job.result.set_exception(
                DeadlineExceeded("the deadline passed while the request was queued")
            )


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


def run_batch(engine: Engine, jobs: list[Job]) -> tuple[float, list[list[Floats]]]:
    """Run the pictures of all jobs as one batch.

    Returns the engine's time in seconds, and for each job one (k, 6) array per picture.
    """
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
    return ended - started, results
