"""Measure the precisions of one version in a process of its own, at the lowest priority.

A lock in the cache lets one of several processes that share the cache measure a model; the others
find the report there.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from elastic_yolo.detector.artefacts import MEASURING_LOCK, ModelCache
from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.errors import ArtefactDamaged
from elastic_yolo.detector.precision import read_report
from services.inference.measuring.task import Reply, Task

# Not imported: the quantiser, which it needs, is not installed everywhere.
_PROGRAM = "services.inference.measuring.program"
_FOLDER = Path(__file__).parents[3]
# A quantiser that hangs must not hold the lock for ever. yolov3 takes two minutes on an idle core.
_TIMEOUT_S = 3600.0


class MeasurementFailed(Exception):
    """Nothing was measured; the message is one line."""


class TooFewPictures(MeasurementFailed):
    """Not enough pictures were usable; `in_folder` is the number of those of the folder."""

    def __init__(self, message: str, in_folder: int) -> None:
        """Keep both."""
        super().__init__(message)
        self.in_folder = in_folder


class AlreadyMeasuring(Exception):
    """Another process measures this model into the same cache."""


class MeasuringProcess:
    """Runs one measurement at a time. `run` blocks; `close` may be called by another thread."""

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        """Start nothing yet; a measurement that takes longer than `timeout_s` fails."""
        self._timeout_s = timeout_s
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def run(self, task: Task, images: Sequence[Image]) -> bool:
        """Measure, unless another process has just done so; returns whether this one did.

        The cache holds the report afterwards.

        `images` are the pictures of requests, (height, width, 3) uint8 each. Raises
        AlreadyMeasuring or MeasurementFailed, for too few usable pictures TooFewPictures.
        """
        try:
            # The folder is for the quantiser, which deletes nothing when it is killed.
            with (
                lock_model(ModelCache(task.cache, task.cache_key)) as lock,
                TemporaryDirectory(prefix="elastic-yolo-") as folder,
            ):
                if is_measured(task):
                    return False
                self._exchange(self._start(lock, folder), task, images)
                return True
        except OSError as error:
            raise MeasurementFailed(str(error)) from error

    def close(self) -> None:
        """Kill the process, if there is one, and start no other."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _start(self, lock: int, folder: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise MeasurementFailed("the service drains")
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-m", _PROGRAM],
                cwd=_FOLDER,
                env={**os.environ, "TMPDIR": folder},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Held until both processes have ended.
                pass_fds=[lock],
            )
            _give_way(self._process.pid)
            return self._process

    def _exchange(
        self, process: subprocess.Popen[bytes], task: Task, images: Sequence[Image]
    ) -> None:
        content = b"".join(
            [task.model_dump_json().encode(), b"\n", *(one.tobytes() for one in images)]
        )
        # Leaving the block closes the pipes and waits for the process.
        with process:
            try:
                reply, _ = process.communicate(content, timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                text = f"not done after {self._timeout_s:.0f} s"
                raise MeasurementFailed(text) from None
            finally:
                process.kill()
        with self._lock:
            self._process = None
        try:
            _raise_error(Reply.model_validate_json(reply.splitlines()[-1]))
        except (IndexError, ValueError):
            ended = f"the measuring process ended with status {process.returncode}"
            raise MeasurementFailed(ended) from None


def _raise_error(reply: Reply) -> None:
    if reply.error is not None and reply.in_folder is not None:
        raise TooFewPictures(reply.error, reply.in_folder)
    if reply.error is not None:
        raise MeasurementFailed(reply.error)


@contextmanager
def lock_model(model_cache: ModelCache) -> Iterator[int]:
    """Hold the lock of a model's folder in the cache; yields the open file.

    Raises AlreadyMeasuring, and OSError if the cache is not writable.
    """
    model_cache.create_folder()
    with (model_cache.folder / MEASURING_LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyMeasuring(str(model_cache.folder)) from None
        yield file.fileno()


def is_measured(task: Task) -> bool:
    """Return whether the cache's report has all that the task is to measure."""
    try:
        report = read_report(ModelCache(task.cache, task.cache_key), load.INT8_RECIPE)
    except ArtefactDamaged:
        return False
    rows = () if report is None else report.rows
    here = {row.precision for row in rows if (row.engine, row.device) == (task.engine, task.device)}
    return here >= set(task.precisions)


def _give_way(pid: int) -> None:
    """Give a process, and the threads that it will start, the lowest priority.

    Not SCHED_IDLE, which gets a fifth of this on a machine whose CPUs are never idle: a service
    under load gains most from a faster precision.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, 19)
    with suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
