"""Shadow mode: run a version on copies of requests and compare its detections with the response."""

from __future__ import annotations

import asyncio
import uuid

import numpy as np

from elastic_yolo.detector.boxes import CLASS, Floats, Image
from elastic_yolo.detector.nms import overlaps
from services.common.request.context import Deadline, RequestContext
from services.common.request.errors import ServiceError
from services.inference.protocol import InferRequest, PictureRequest
from services.inference.scheduler import NetworkInput
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_metrics import ModelMetrics

# From this overlap on, two boxes of one label are the same object (PASCAL VOC).
_MIN_IOU = 0.5
_TIMEOUT_MS = 30_000
_MAX_OBJECTS = 100


class ShadowRunner:
    """Runs shadows on spare capacity: one request at a time, only while no request is queued."""

    def __init__(self, metrics: ModelMetrics) -> None:
        """Take the metrics that comparisons are recorded in."""
        self._metrics = metrics
        self._running: asyncio.Task[None] | None = None

    def compare_later(
        self,
        shadow: LoadedVersion,
        version: LoadedVersion,
        request: InferRequest | PictureRequest,
        images: Image,
        detections: list[Floats],
    ) -> None:
        """Run the shadow on the request's pictures if there is capacity; returns immediately.

        `images` are its pixels, (n, height, width, 3). `detections` are those of `version`, which
        the response has: one (k, 6) array per picture.
        """
        if shadow is version:
            return
        if self._running is not None or version.scheduler.queued:
            self._metrics.count_shadow(shadow, "skipped", len(detections))
            return
        self._running = asyncio.create_task(
            self._compare(shadow, version, request, images, detections)
        )
        self._running.add_done_callback(self._end)

    def _end(self, _task: asyncio.Task[None]) -> None:
        self._running = None

    async def _compare(
        self,
        shadow: LoadedVersion,
        version: LoadedVersion,
        request: InferRequest | PictureRequest,
        images: Image,
        detections: list[Floats],
    ) -> None:
        context = RequestContext(uuid.uuid4().hex, Deadline.after_ms(_TIMEOUT_MS))
        try:
            with shadow.in_use():
                shadowed = await shadow.predict(
                    context, NetworkInput.of(images), request.threshold, request.iou
                )
        except (ServiceError, RuntimeError):
            # RuntimeError: the shadow was retired after the request began.
            self._metrics.count_shadow(shadow, "failed", len(detections))
            return
        self._metrics.count_shadow(shadow, "compared", len(detections))
        labels = version.detector.model.labels, shadow.detector.model.labels
        for served_rows, shadow_rows in zip(_best(detections), _best(shadowed), strict=True):
            both = count_same(served_rows, shadow_rows, labels)
            self._metrics.count_agreement(
                shadow, both, len(served_rows) - both, len(shadow_rows) - both
            )


def _best(detections: list[Floats]) -> list[Floats]:
    """Return the best rows of each picture: with a threshold of 0 there are thousands."""
    return [rows[:_MAX_OBJECTS] for rows in detections]


def count_same(
    served: Floats, shadowed: Floats, labels: tuple[tuple[str, ...], tuple[str, ...]]
) -> int:
    """Return the number of objects in a picture that both versions found.

    `served` and `shadowed` are (k, 6), best score first: x1 y1 x2 y2 score class. `labels` are the
    labels of the two versions. A row is matched with the unmatched row of the same label that
    overlaps it most, with an IoU of at least 0.5.
    """
    names = np.array([labels[1][number] for number in shadowed[:, CLASS].astype(int)])
    free = np.ones(len(shadowed), bool)
    same = 0
    for row in served:
        fitting = free & (names == labels[0][int(row[CLASS])]) if len(shadowed) else free
        if not fitting.any():
            continue
        overlap = np.where(fitting, overlaps(row[:4], shadowed[:, :4]), 0)
        best = int(overlap.argmax())
        if overlap[best] >= _MIN_IOU:
            free[best] = False
            same += 1
    return same
