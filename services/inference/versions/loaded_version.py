"""One version of a model in memory, ready to run requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_yolo.detector.boxes import Floats, InputFormat
from elastic_yolo.detector.detector import Detector
from elastic_yolo.picture.header import ACCEPTED
from services.common.core.golden import Golden
from services.common.request.context import RequestContext
from services.common.request.errors import MalformedRequest
from services.inference import protocol
from services.inference.protocol import InferRequest
from services.inference.scheduler import NetworkInput, Scheduler
from services.inference.versions.drift import DriftWatch
from services.inference.versions.hook_process import HookProcess
from services.inference.versions.picture_sample import PictureSample
from services.inference.versions.statistics import VersionStatistics


class LoadedVersion:
    """A version with its queue, drift counts and hook. A request keeps the version it began with.

    All methods but `close` are called on the event loop.
    """

    def __init__(
        self,
        detector: Detector,
        golden: Golden,
        scheduler: Scheduler,
        drift: DriftWatch,
        *,
        golden_agrees: bool,
        load_s: float,
        statistics: VersionStatistics,
        hook: HookProcess | None = None,
        pictures: PictureSample | None = None,
    ) -> None:
        """Take the parts; no request uses them yet. `load_s` is the time that loading took."""
        self.pictures = pictures
        self.golden_agrees = golden_agrees
        self.load_s = load_s
        self.statistics = statistics
        self.hook = hook
        self.detector = detector
        self.input_format: InputFormat = detector.model.input_format
        """Size of the network's input, and the rule that pictures are fitted into it by."""
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
        """The version's name, as its owner chose it."""
        return self.detector.model.version

    @property
    def digest(self) -> str:
        """The digest of the version's files."""
        return self.detector.model.digest

    @property
    def precision(self) -> str:
        """The number format of its engine, as in PRECISION."""
        return self.detector.engine.precision

    def accepts(self, request: InferRequest) -> bool:
        """Return whether the pictures of a request are prepared as the network requires."""
        return self.input_format.accepts(request.size, request.resize)

    def require_format(self, request: InferRequest) -> None:
        """Raise MalformedRequest unless the version accepts the pictures of a request."""
        if not self.accepts(request):
            raise MalformedRequest(
                f"version {self.version} takes pictures of {self.input_format}, "
                f"not {request.describe_format()}"
            )

    def describe_statistics(self) -> dict[str, Any]:
        """Return what the version has done, in the JSON of Triton's statistics extension."""
        return {"name": self.name, "version": self.version, **self.statistics.describe()}

    def facts(self) -> dict[str, str]:
        """Return name, version and digest, for responses and log lines."""
        return {"name": self.name, "version": self.version, "digest": self.digest}

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the version in memory until the end of the block."""
        self._users += 1
        self._unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def predict(
        self,
        context: RequestContext,
        pictures: NetworkInput,
        threshold: float | None = None,
        iou: float | None = None,
    ) -> list[Floats]:
        """Run the network on pictures; return one (k, 6) array of detections for each.

        Without threshold and iou, the model's own are applied. Raises what `Scheduler.enqueue`
        raises.
        """
        model = self.detector.model
        threshold = model.threshold if threshold is None else threshold
        iou = model.iou if iou is None else iou
        return await self.scheduler.enqueue(
            context,
            pictures,
            lambda heads: self.detector.postprocess(heads, threshold, iou),
        )

    async def retire(self) -> None:
        """Wait until no request uses the version, then close it."""
        await self._unused.wait()
        # A run whose caller has hung up may still be running.
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Wait for the engine's last run, stop the threads and end the hook's process."""
        if self.hook is not None:
            self.hook.close()
        self.scheduler.close()

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's model metadata; facts beyond the protocol are in `parameters`."""
        model, engine = self.detector.model, self.detector.engine
        width, height = self.input_format.size
        return {
            "name": model.name,
            "versions": [model.version],
            "platform": f"darknet_{engine.name}",
            "inputs": protocol.describe_inputs(width, height),
            "outputs": protocol.describe_outputs(),
            "parameters": {
                "digest": model.digest,
                "labels": list(model.labels),
                "threshold": model.threshold,
                "iou": model.iou,
                "resize": model.resize,
                # What a BYTES tensor of the same name may have as elements.
                "pictures": list(ACCEPTED),
                "engine": engine.name,
                "precision": engine.precision,
                "device": engine.device,
            },
        }
