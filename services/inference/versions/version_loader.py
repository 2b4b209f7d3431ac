"""Load a version: from its files to a LoadedVersion, or to the reason why it must not serve."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import EngineOptions, build_engine
from elastic_yolo.detector.errors import DetectorError, EngineError
from elastic_yolo.detector.model import Model
from elastic_yolo.detector.profile import read_reference
from elastic_yolo.freed_memory import return_freed_memory
from elastic_yolo.store.errors import StoreError
from services.common.observe.logs import get_logger
from services.inference.golden import prepare_golden
from services.inference.scheduler import RunTimes, Scheduler
from services.inference.versions.drift import DriftWatch
from services.inference.versions.hook_process import start_hook
from services.inference.versions.loaded_version import LoadedVersion
from services.inference.versions.model_source import ModelSource, read_version
from services.inference.versions.picture_sample import PictureSample
from services.inference.versions.statistics import VersionStatistics

# One stream per thread; more streams make each request slower and add little throughput.
_MAX_STREAMS = 4

Reason = Literal["store", "model", "engine", "golden", "size", "resize", "unexpected"]


class VersionRefused(Exception):
    """A version must not serve. The message is one line, for the log and the repository routes."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        """Take the metric's label and the message.

        `retryable` is true if the files could not be read: a later attempt may succeed.
        """
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


@dataclass(frozen=True)
class VersionLoader:
    """Loads versions with the engine and queue options of this process."""

    options: EngineOptions
    max_queue: int
    max_batch: int
    custom_metrics: bool = False
    """Whether a model's metrics.py is run."""
    keep_pictures: bool = False
    """Whether versions keep a sample of the pictures that they receive."""
    on_phase: Callable[[str], None] = lambda _: None
    """Called with the name of each phase of loading when it ends."""
    on_run: Callable[[str, str, int, RunTimes], None] = lambda *_: None
    """Called after each run of an engine: model, version, pictures, times."""

    def load(
        self, source: ModelSource, identity: str, *, golden_must_agree: bool = True
    ) -> LoadedVersion:
        """Read a version, build its engine, run its golden picture; takes seconds.

        Raises VersionRefused. With `golden_must_agree` false, a golden picture that does not give
        the detections of model.yaml is only logged, and /health/status reports it.
        """
        started = time.perf_counter()
        with _errors_as_refusals(identity):
            model = read_version(source, identity)
            model.require_name()
            reference = read_reference(model)
            self.on_phase("model")
            engine, choice = build_engine(model, self.options)
            self.on_phase("engine")
            golden, difference = prepare_golden(detector := Detector(model, engine))
            if difference is not None:
                if golden_must_agree:
                    raise VersionRefused("golden", f"golden picture: {difference}")
                get_logger().warning("golden picture mismatch", difference=difference)
            hook = start_hook(model.folder) if self.custom_metrics else None
            return_freed_memory()
            self.on_phase("golden")
        for note in model.network.notes:
            get_logger().warning("without effect in the .cfg", model=model.name, note=note)
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
        statistics = VersionStatistics()
        return LoadedVersion(
            detector,
            golden,
            self._schedule(model, engine, statistics),
            DriftWatch(model.labels, model.threshold, model.iou, reference),
            golden_agrees=difference is None,
            load_s=time.perf_counter() - started,
            statistics=statistics,
            hook=hook,
            pictures=PictureSample(model.threshold) if self.keep_pictures else None,
        )

    def rebuild(self, version: LoadedVersion, precision: str) -> LoadedVersion:
        """Load a version's network once more, in another precision.

        The new object continues the statistics, the drift counts and the sample of pictures. Raises
        VersionRefused.
        """
        started = time.perf_counter()
        model, before = version.detector.model, version.detector.engine
        options = replace(
            self.options, engine=before.name, device=before.device, precision=precision
        )
        with _errors_as_refusals(version.version):
            engine, _ = build_engine(model, options)
            golden, difference = prepare_golden(detector := Detector(model, engine))
            if difference is not None and version.golden_agrees:
                raise VersionRefused("golden", f"golden picture: {difference}")
            hook = None if version.hook is None else start_hook(model.folder)
            return_freed_memory()
        return LoadedVersion(
            detector,
            golden,
            self._schedule(model, engine, version.statistics),
            version.drift,
            golden_agrees=difference is None,
            load_s=time.perf_counter() - started,
            statistics=version.statistics,
            hook=hook,
            pictures=version.pictures,
        )

    def _schedule(self, model: Model, engine: Engine, statistics: VersionStatistics) -> Scheduler:
        return Scheduler(
            engine,
            max_streams=min(self.options.threads, _MAX_STREAMS),
            max_queued=self.max_queue,
            max_batch=self.max_batch,
            one_thread_streams=self.options.threads <= _MAX_STREAMS,
            on_run=[partial(self.on_run, model.name, model.version), statistics.record_run],
        )


@contextmanager
def _errors_as_refusals(identity: str) -> Iterator[None]:
    """Raise every exception in the block as VersionRefused: the previous version keeps serving."""
    try:
        yield
    except VersionRefused:
        raise
    except (DetectorError, StoreError) as error:
        retryable = isinstance(error, StoreError) or isinstance(error.__cause__, OSError)
        raise VersionRefused(_reason(error), str(error), retryable=retryable) from error
    except Exception as error:
        get_logger().exception("unexpected error", id=identity)
        retryable = isinstance(error, OSError | MemoryError)
        what = f"{type(error).__name__}: {error}"
        raise VersionRefused("unexpected", what, retryable=retryable) from error


def _reason(error: Exception) -> Reason:
    if isinstance(error, StoreError):
        return "store"
    return "engine" if isinstance(error, EngineError) else "model"
