"""Explains one detection: hides random parts of its picture, and sees how its score changes.

The predictions are background requests, a few at a time, so ordinary requests come first. One
explanation runs at a time in each process.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import numpy as np

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.saliency.masks import Masks
from elastic_yolo.detector.saliency.ranking import Ranking
from elastic_yolo.detector.saliency.saliency_sum import SaliencySum
from elastic_yolo.detector.saliency.target import LOWEST_SCORE, Target
from elastic_yolo.detector.saliency.window import Window
from elastic_yolo.progress import counted
from services.common.core.explain_query import LEAST_MASKS, ExplainQuery
from services.common.core.probes import Phase, Readiness
from services.common.queue import start_threads
from services.common.request.context import Deadline, RequestContext, Timings
from services.common.request.errors import (
    DeadlineExceeded,
    ParameterOutOfRange,
    RemoteProblem,
    TooManyRequests,
    Unavailable,
)
from services.preprocess.explaining.metrics import ExplainMetrics
from services.preprocess.explaining.restraint import Restraint
from services.preprocess.inference_client import DetectionRequest
from services.preprocess.pipeline import Pipeline, Predicted

T = TypeVar("T")

# Predictions in flight: each inference process runs one at a time, or a batch of them.
_IN_FLIGHT = 4
# Of the remaining time: the rest is for the map and the response.
_SAMPLING_PART, _MOST_RESERVE_S = 0.9, 1.0
_PAUSE_S = 0.01
BEST_PART = 0.1
"""Part of what the map covers that is hidden, and shown alone, to check the map."""


@dataclass(frozen=True)
class Explanation:
    """The saliency map of one detection, and how it came about."""

    saliency: Floats
    """(height, width) at network size: the score that each place adds."""
    corners: Floats
    """x1 y1 x2 y2 of what the map covers, in pixels of the upright picture."""
    score: float
    """Of the detection in the whole picture."""
    score_without_best: float | None
    """With the best tenth of what the map covers hidden; None if no time was left."""
    score_of_best: float | None
    """With the rest of what it covers hidden."""
    masks: int
    is_complete: bool
    """Whether all masks were used that the query asked for."""
    seconds: float
    picture: tuple[int, int]
    """(width, height) of the upright picture."""
    model: dict[str, str]


class Explainer:
    """Makes saliency maps, one at a time."""

    def __init__(self, pipeline: Pipeline, metrics: ExplainMetrics, readiness: Readiness) -> None:
        """Start the thread that hides parts of pictures."""
        self.readiness = readiness
        self._pipeline = pipeline
        self._metrics = metrics
        self._thread = start_threads(1, "explain")
        self._is_busy = False
        self._free_at = 0.0
        self._sampling: _Sampling | None = None
        self.restraint = Restraint()

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown()

    def require_free(self) -> None:
        """Raise TooManyRequests while an explanation is running."""
        if self._is_busy:
            left_s = self._free_at - time.monotonic()
            if self._sampling is not None:
                left_s = min(left_s, self._sampling.expected_s)
            again_s = max(1, min(60, math.ceil(left_s)))
            raise TooManyRequests(
                f"this service explains one detection at a time: try again in {again_s} s",
                again_s,
                "queue_full",
            )

    async def explain(
        self, context: RequestContext, data: bytes, query: ExplainQuery, wanted: DetectionRequest
    ) -> Explanation:
        """Explain a detection in a picture file; `wanted` chooses the model.

        Raises TooManyRequests while another one is running, ParameterOutOfRange if the detection is
        not in the picture, DeadlineExceeded if there is no time for enough masks, and as
        `Pipeline.predict` does.
        """
        with self._turn(context), self._metrics.count() as outcome:
            started = time.perf_counter()
            wanted = replace(wanted, parameters={"threshold": LOWEST_SCORE})
            behind = replace(context, is_background=True)
            async with self._pipeline.predict(behind, data, wanted) as whole:
                target, score = find_target(whole, query)
                sampling = _Sampling(self, behind, whole, target, wanted, query)
                began = time.perf_counter()
                self._sampling = sampling
                await sampling.run()
                explained = await sampling.finish()
            # The predictions overlap: what they took together is the time of all.
            spent_ms = (time.perf_counter() - began) * 1000
            context.timings.absorb(f"inference;dur={spent_ms:.2f}")
            outcome.masks = sampling.sums.count
            outcome.is_complete = sampling.sums.count == query.masks
            found = whole.prediction
            return Explanation(
                saliency=explained.saliency,
                corners=whole.place.to_picture(sampling.window.corners)[0],
                score=score,
                score_without_best=explained.without_best,
                score_of_best=explained.of_best,
                masks=outcome.masks,
                is_complete=outcome.is_complete,
                seconds=time.perf_counter() - started,
                picture=whole.header.upright_size,
                model={"name": found.model, "version": found.version, "digest": found.digest},
            )

    async def run(self, deadline: Deadline, job: Callable[[], T]) -> T:
        """Run work on pixels in the thread, after all pictures that wait to be decoded.

        At the deadline it runs in any case: what follows finds out that it is late.
        """
        waiting = self._pipeline.inputs.queue
        while waiting.load.waiting and deadline.left_s > 0:  # noqa: ASYNC110  # rare, not urgent
            await asyncio.sleep(_PAUSE_S)
        return await asyncio.get_running_loop().run_in_executor(self._thread, job)

    @contextmanager
    def _turn(self, context: RequestContext) -> Iterator[None]:
        self.require_free()
        self._is_busy = True
        self._free_at = context.deadline.at_s
        try:
            yield
        finally:
            self._is_busy = False
            self._sampling = None


def find_target(whole: Predicted, query: ExplainQuery) -> tuple[Target, float]:
    """Return the detection of a query in the prediction for its picture, and its score.

    Raises ParameterOutOfRange if there is none.
    """
    x, y, width, height = query.box
    corners = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    (box,) = whole.place.to_network(np.array([corners], np.float32))
    for number, label in whole.prediction.labels.items():
        if label == query.label:
            target = Target(number, box)
            score = target.find_score(whole.prediction.rows)
            if score is not None:
                return target, score
    raise ParameterOutOfRange(
        f"box, label: the model finds no {query.label[:80]!r} there: expected a detection that "
        "/inference has returned for this picture and model"
    )


@dataclass(frozen=True)
class _Finished:
    saliency: Floats
    without_best: float | None
    of_best: float | None


class _Sampling:
    """The predictions of one explanation."""

    def __init__(
        self,
        explainer: Explainer,
        context: RequestContext,
        whole: Predicted,
        target: Target,
        wanted: DetectionRequest,
        query: ExplainQuery,
    ) -> None:
        self.window = Window.around(target.box, whole.place)
        self._masks = Masks.of(self.window, query.seed)
        self.sums = SaliencySum(self._masks.size)
        self._explainer = explainer
        self._whole = whole
        self._target = target
        self._wanted = wanted
        # One entry for hundreds of predictions says nothing, and neither do their spans.
        hidden = replace(context, timings=Timings(), trace=None)
        left_s = context.deadline.remaining_s()
        reserve_s = min(_MOST_RESERVE_S, left_s * (1 - _SAMPLING_PART))
        end_s = context.deadline.at_s
        self._sampling = replace(hidden, deadline=Deadline(end_s - reserve_s))
        # The response takes the rest.
        self._checking = replace(hidden, deadline=Deadline(end_s - reserve_s / 2))
        self._masks_wanted = query.masks
        self._began_s = time.monotonic()

    @property
    def expected_s(self) -> float:
        """How long the masks that are left will take if they take as long as those before."""
        if self.sums.count == 0:
            return math.inf
        each_s = (time.monotonic() - self._began_s) / self.sums.count
        return each_s * (self._masks_wanted - self.sums.count)

    async def run(self) -> None:
        """Try masks until all are used, the time is over or the process drains.

        Raises DeadlineExceeded or Unavailable if they are too few.
        """
        context = self._sampling
        numbers = iter(range(self._masks_wanted))

        async def work() -> None:
            for number in numbers:
                if self._explainer.readiness.phase is not Phase.SERVING:
                    # The process ends: what there is has to do.
                    return
                draw = partial(self._masks.draw, number)
                mask = await self._explainer.run(context.deadline, draw)
                async with self._explainer.restraint.slot(context.deadline):
                    self.sums.add(mask, await self._weigh(context, mask))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(_IN_FLIGHT):
                    group.create_task(_unless_late(work()))
        except ExceptionGroup as failures:
            # The first one; the group has cancelled the others.
            raise failures.exceptions[0] from None
        if self.sums.count < LEAST_MASKS:
            self._explainer.readiness.require()
            raise DeadlineExceeded(
                f"{counted(self.sums.count, 'mask')} in the time of the request, expected "
                f"{LEAST_MASKS} or more: allow more time, or try when there is less load"
            )

    async def finish(self) -> _Finished:
        """Return the map, and how the score changes with its best tenth, if there is time."""
        context = self._checking
        saliency, ranking = await self._explainer.run(context.deadline, self._rank)
        without, alone = ranking.without_best(BEST_PART), ranking.best_alone(BEST_PART)
        return _Finished(
            saliency,
            await _unless_late(self._weigh(context, without)),
            await _unless_late(self._weigh(context, alone)),
        )

    def _rank(self) -> tuple[Floats, Ranking]:
        saliency = self.sums.to_map()
        return saliency, Ranking(saliency)

    async def _weigh(self, context: RequestContext, mask: Floats) -> float:
        """Return what is left of the target where the mask hides the rest."""
        image = self._whole.image
        hidden = await self._explainer.run(context.deadline, lambda: self.window.hide(image, mask))
        prediction = await self._whole.model.predict(context, hidden, self._wanted)
        if prediction.digest != self._whole.prediction.digest:
            # Its numbers of classes may stand for other labels.
            raise Unavailable("the model was replaced during the explanation: explain again")
        return self._target.weigh(prediction.rows)


async def _unless_late(work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result, or None if the deadline passes, here or in a service behind."""
    try:
        return await work
    except DeadlineExceeded:
        return None
    except RemoteProblem as problem:
        if problem.status != HTTPStatus.GATEWAY_TIMEOUT:
            raise
        return None
