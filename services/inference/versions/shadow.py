"""Shadow mode: a version that never answers is asked as well, and its answers are compared."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np

from elastic_yolo.detector.boxes import CLASS, Floats
from elastic_yolo.detector.nms import overlaps
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import ServiceError
from services.inference.protocol import InferRequest
from services.inference.versions.lineup import Lineup
from services.inference.versions.model_metrics import ModelMetrics
from services.inference.versions.version import LoadedVersion

# Two boxes of one label are the same object from here on, as PASCAL VOC has it.
_MIN_IOU = 0.5
_PATIENCE_MS = 30_000
_MOST_OBJECTS = 100


class Shadows:
    """Asks shadows in the gaps: one at a time, and only while nobody waits for an answer."""

    def __init__(self, metrics: ModelMetrics) -> None:
        """Compare nothing yet."""
        self._metrics = metrics
        self._asking: asyncio.Task[None] | None = None

    def compare(
        self, lineup: Lineup, version: LoadedVersion, request: InferRequest, found: list[Floats]
    ) -> None:
        """Ask the shadow, if there is one and time for it, what it finds in the same pictures."""
        shadow = lineup.shadow
        if shadow is None or shadow is version:
            return
        if self._asking is not None or version.scheduler.waiting:
            self._metrics.count_shadow(shadow, "skipped", len(found))
            return
        self._asking = asyncio.create_task(self._compare(shadow, version, request, found))
        self._asking.add_done_callback(self._end)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._asking = None

    async def _compare(
        self,
        shadow: LoadedVersion,
        version: LoadedVersion,
        request: InferRequest,
        found: list[Floats],
    ) -> None:
        context = RequestContext(uuid.uuid4().hex, Deadline.after_ms(_PATIENCE_MS))
        try:
            with shadow.in_use():
                shadowed = await shadow.find(context, request)
        except (ServiceError, RuntimeError):
            # RuntimeError: it was retired since the request began.
            self._metrics.count_shadow(shadow, "failed", len(found))
            return
        self._metrics.count_shadow(shadow, "compared", len(found))
        labels = version.detector.model.labels, shadow.detector.model.labels
        for one, other in zip(_best(found), _best(shadowed), strict=True):
            both = count_same(one, other, labels)
            self._metrics.count_agreement(shadow, both, len(one) - both, len(other) - both)


def _best(found: list[Floats]) -> list[Floats]:
    """Return the best rows of each picture: with a threshold of 0 there are thousands."""
    return [rows[:_MOST_OBJECTS] for rows in found]


def count_same(one: Floats, other: Floats, labels: tuple[tuple[str, ...], tuple[str, ...]]) -> int:
    """Return how many objects two versions have both found in a picture.

    Rows are (k, 6), best score first: x1 y1 x2 y2 score class. Each is matched with the free one of
    the same label that overlaps it most, by half at least.
    """
    names = np.array([labels[1][number] for number in other[:, CLASS].astype(int)])
    free = np.ones(len(other), bool)
    same = 0
    for row in one:
        fitting = free & (names == labels[0][int(row[CLASS])]) if len(other) else free
        if not fitting.any():
            continue
        overlap = np.where(fitting, overlaps(row[:4], other[:, :4]), 0)
        best = int(overlap.argmax())
        if overlap[best] >= _MIN_IOU:
            free[best] = False
            same += 1
    return same
