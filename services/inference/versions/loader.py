"""From a version's files to a version that can answer, or to the reason why it must not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import DetectorError, EngineError
from elastic_yolo.detector.profile import read_reference
from elastic_yolo.store.errors import StoreError
from services.common.observe.logs import get_logger
from services.inference.golden import prepare_golden
from services.inference.scheduler import Scheduler
from services.inference.versions.custom_metrics import read_hook
from services.inference.versions.drift import DriftWatch
from services.inference.versions.place import ModelSource, read_version
from services.inference.versions.version import LoadedVersion

# With more streams of fewer threads a picture takes longer and longer, for less and less.
_MAX_STREAMS = 4

Reason = Literal["store", "model", "engine", "golden", "size", "unexpected"]


class VersionRefused(Exception):
    """A version must not serve. The message is one line, for the log and for who asked for it."""

    def __init__(self, reason: Reason, message: str, *, may_pass: bool = False) -> None:
        """Say what kind of reason it is, for the metric, and which.

        `may_pass` where the files could not be read: later they may be.
        """
        super().__init__(message)
        self.reason = reason
        self.may_pass = may_pass


@dataclass(frozen=True)
class Loader:
    """How versions are loaded: the engine, and the queue in front of it."""

    options: EngineOptions
    streams: int
    max_queue: int
    max_batch: int
    custom_metrics: bool = False
    """Whether a model's metrics.py is run."""
    done: Callable[[str], None] = lambda _: None
    """Told of each phase that is over."""
    ran: Callable[[str, str, int, float], None] = lambda *_: None
    """Told of each run of an engine: model, version, pictures, seconds."""

    def load(
        self, spot: ModelSource, identity: str, *, golden_must_agree: bool = True
    ) -> LoadedVersion:
        """Read a version, build its engine and run its golden picture; takes seconds.

        Raises VersionRefused. A golden picture that is answered otherwise than model.yaml says is
        only logged where `golden_must_agree` is false: /health/status tells everybody.
        """
        started = time.perf_counter()
        try:
            model = read_version(spot, identity)
            reference = read_reference(model)
            hook = read_hook(model.folder) if self.custom_metrics else None
            self.done("model")
            engine, choice = build_engine(model, self.options)
            self.done("engine")
            golden, difference = prepare_golden(detector := Detector(model, engine))
            self.done("golden")
        except (DetectorError, StoreError) as error:
            may_pass = isinstance(error, StoreError) or isinstance(error.__cause__, OSError)
            raise VersionRefused(_reason(error), str(error), may_pass=may_pass) from error
        except Exception as error:
            # Whatever it is, the version before is to serve.
            get_logger().exception("unexpected error", id=identity)
            may_pass = isinstance(error, OSError | MemoryError)
            what = f"{type(error).__name__}: {error}"
            raise VersionRefused("unexpected", what, may_pass=may_pass) from error
        if difference is not None:
            what = f"the golden picture is answered otherwise: {difference}"
            if golden_must_agree:
                raise VersionRefused("golden", what)
            get_logger().warning("golden picture not answered as expected", difference=difference)
        scheduler = Scheduler(
            engine,
            shares=self.streams or min(self.options.threads, _MAX_STREAMS),
            max_waiting=self.max_queue,
            max_batch=self.max_batch,
            ran=partial(self.ran, model.name, model.version),
        )
        get_logger().info(
            "model loaded",
            model=model.name,
            version=model.version,
            digest=model.digest,
            engine=engine.name,
            precision=engine.precision,
            device=engine.device,
            why=choice.why,
        )
        drift = DriftWatch(model.labels, model.threshold, model.iou, reference)
        return LoadedVersion(
            detector,
            golden,
            scheduler,
            drift,
            golden_agrees=difference is None,
            load_s=time.perf_counter() - started,
            hook=hook,
        )


def _reason(error: Exception) -> Reason:
    if isinstance(error, StoreError):
        return "store"
    return "engine" if isinstance(error, EngineError) else "model"
