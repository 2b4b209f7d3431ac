"""Detection by Ray Data: the same step on many machines, an actor with the model on each worker.

Ray is imported on use: only `--engine ray` needs it.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.batch.detecting import LocalDetecting, Outcome, Outcomes
from elastic_yolo.batch.errors import BadInput
from elastic_yolo.batch.pictures import listing_digest, open_pictures
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.loading import load_detector
from elastic_yolo.detector.parallel import ParallelDetector, Parameters
from elastic_yolo.extras import naming_extra
from elastic_yolo.names import Resize

# What an actor gets at once: enough to keep its engine busy.
_BATCH = 64
# More cost the driver more time than they save.
_MOST_BLOCKS = 2000


@dataclass(frozen=True)
class Step:
    """What every worker needs; the paths are the same on all machines, as on a shared volume."""

    input: str
    listing: str
    """Digest of the names in the input, as the driver sees it."""
    model: Path
    resize: Resize
    options: EngineOptions
    parameters: Parameters


class RayDetecting:
    """Detection by the actors of a Ray cluster, or of this machine if there is none."""

    def __init__(self, step: Step, workers: int) -> None:
        """Connect to the cluster of RAY_ADDRESS, or start Ray here; raises MissingPackage."""
        # Ray reports its use to its vendor unless it is told not to before it is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Its core prints warnings about its own internals as errors.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with naming_extra("--engine ray", "ray"):
            import ray  # noqa: PLC0415
            import ray.data  # noqa: PLC0415
        self.engine = "ray"
        self._ray = ray
        self._step = step
        self._workers = workers
        self._own = not ray.is_initialized()
        if self._own:
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="ERROR")
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        # Shards are written in the order of the input.
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False

    def close(self) -> None:
        """Disconnect, and end the Ray that was started here: afterwards it prints nothing."""
        if self._own:
            self._ray.shutdown()

    def outcomes(self, numbers: Sequence[int], stop: Event) -> Outcomes:
        """See Detecting.outcomes.

        Raises what a worker failed with, or EngineError for Ray's own failures.
        """
        # Not ray.data.range: it needs a CPU, and the actors may have taken all.
        blocks = _blocks(numbers, self._workers)
        found = self._ray.data.from_numpy(blocks).map_batches(
            _Worker,
            fn_constructor_args=(self._step,),
            batch_size=_BATCH,
            compute=self._ray.data.ActorPoolStrategy(size=self._workers),
            num_cpus=self._step.options.threads,
        )
        try:
            for batch in found.iter_batches(batch_size=None):
                self.engine = f"ray, {batch['engine'][0]}"
                for number, outcome in zip(batch["number"], batch["outcome"], strict=True):
                    if stop.is_set():
                        return
                    yield int(number), _opened(outcome)
        except self._ray.exceptions.RayError as error:
            raise EngineError(f"Ray: {_reason(error)}") from error


class _Worker:
    """An actor: it has the model loaded, and detects in batches of numbers.

    An error is passed on as a value. If it were raised, Ray would wrap it, print it several times,
    and try again by itself.
    """

    def __init__(self, step: Step) -> None:
        try:
            self._detecting: LocalDetecting | Exception = _load(step)
        except Exception as error:  # noqa: BLE001  # the driver raises it
            self._detecting = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = [int(number) for number in batch["data"]]
        packed: list[bytes] = []
        try:
            if isinstance(self._detecting, Exception):
                raise self._detecting  # noqa: TRY301  # as those of the work
            for _, outcome in self._detecting.outcomes(numbers, Event()):
                packed.append(pickle.dumps(outcome))
        except Exception as error:  # noqa: BLE001  # the driver raises it
            packed.append(_packed(error))
        done = len(packed)
        engine = getattr(self._detecting, "engine", "no engine")
        return {"number": np.array(numbers[:done]), "outcome": packed, "engine": [engine] * done}


def _blocks(numbers: Sequence[int], workers: int) -> list[NDArray[np.int64]]:
    """Return numbers in blocks: Ray hands on the results of a block when all of it is done."""
    size = max(1, min(_BATCH, len(numbers) // workers), len(numbers) // _MOST_BLOCKS)
    return [np.array(numbers[at : at + size]) for at in range(0, len(numbers), size)]


def _load(step: Step) -> LocalDetecting:
    pictures = open_pictures(step.input)
    if listing_digest(pictures.names) != step.listing:
        raise BadInput(f"{step.input}: a worker finds other pictures there than the driver")
    detector, _ = load_detector(step.model, step.options, resize=step.resize)
    parallel = ParallelDetector(detector, step.parameters, threads=step.options.threads)
    return LocalDetecting(parallel, pictures)


def _packed(error: Exception) -> bytes:
    packed = pickle.dumps(error)
    try:
        pickle.loads(packed)  # noqa: S301  # our own
    except Exception:  # noqa: BLE001  # an exception of a library with a constructor of its own
        return pickle.dumps(EngineError(f"{type(error).__name__}: {error}"))
    return packed


def _opened(packed: bytes) -> Outcome:
    outcome: Outcome | Exception = pickle.loads(packed)  # noqa: S301  # of our own worker
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _reason(error: Exception) -> str:
    """Return the last line of Ray's message, which has the worker's own error."""
    return str(error).strip().splitlines()[-1]
