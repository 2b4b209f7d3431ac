"""One version of a model, in memory and ready to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_yolo.detector.boxes import Floats
from elastic_yolo.detector.detector import Detector
from services.common.core.golden import Golden
from services.common.request.context import RequestContext
from services.common.request.errors import MalformedRequest
from services.inference import protocol
from services.inference.protocol import InferRequest
from services.inference.scheduler import Scheduler
from services.inference.versions.custom_metrics import Hook
from services.inference.versions.drift import DriftWatch


class LoadedVersion:
    """What answers a request from its beginning to its end, whatever is switched meanwhile."""

    def __init__(
        self,
        detector: Detector,
        golden: Golden,
        scheduler: Scheduler,
        drift: DriftWatch,
        *,
        golden_agrees: bool,
        load_s: float,
        hook: Hook | None = None,
    ) -> None:
        """Join what belongs together; nobody uses it yet. Loading it took `load_s` seconds."""
        self.golden_agrees = golden_agrees
        self.load_s = load_s
        self.hook = hook
        self.detector = detector
        self.golden = golden
        self.scheduler = scheduler
        self.drift = drift
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    def name(self) -> str:
        """The model's name."""
        return self.detector.model.name

    @property
    def version(self) -> str:
        """As the model's owner calls it."""
        return self.detector.model.version

    @property
    def digest(self) -> str:
        """What it is."""
        return self.detector.model.digest

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its input in pixels."""
        return self.detector.network_size

    def require_size(self, size: tuple[int, int]) -> None:
        """Raise MalformedRequest unless pictures have the size of its input."""
        if size != self.size:
            width, height = self.size
            raise MalformedRequest(f"version {self.version} takes {width}x{height} pixels")

    def facts(self) -> dict[str, str]:
        """Return what an answer and a log line name."""
        return {"name": self.name, "version": self.version, "digest": self.digest}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep it until the end of the block; everything here is on the event loop."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def find(self, context: RequestContext, request: InferRequest) -> list[Floats]:
        """Run the engine on a request and return one (k, 6) array for each picture.

        Raises what `Scheduler.run` raises.
        """
        model = self.detector.model
        threshold = model.threshold if request.threshold is None else request.threshold
        iou = model.iou if request.iou is None else request.iou
        return await self.scheduler.run(
            context,
            request.images,
            lambda outputs: self.detector.postprocess(outputs, threshold, iou),
        )

    async def retire(self) -> None:
        """Wait for the last request, then stop its threads."""
        await self._unused.wait()
        # A run that nobody waits for any more may still go on.
        await asyncio.to_thread(self.scheduler.close)

    def metadata(self) -> dict[str, Any]:
        """Return the model metadata of the protocol; our own facts are in `parameters`."""
        model, engine = self.detector.model, self.detector.engine
        width, height = self.size
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": f"darknet_{engine.name}",
            "inputs": [
                {"name": protocol.INPUT_NAME, "datatype": "UINT8", "shape": [-1, height, width, 3]}
            ],
            "outputs": [
                {"name": protocol.DETECTIONS, "datatype": "FP32", "shape": [-1, 6]},
                {"name": protocol.COUNTS, "datatype": "INT64", "shape": [-1]},
            ],
            "parameters": {
                "digest": model.digest,
                "labels": list(model.labels),
                "threshold": model.threshold,
                "iou": model.iou,
                "engine": engine.name,
                "precision": engine.precision,
                "device": engine.device,
            },
        }
