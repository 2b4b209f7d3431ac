"""The process that measures precisions: `python -m services.inference.measuring.program`.

Reads a task and pictures from standard input, fills the cache, and prints a reply. It ends when
its parent ends. `process.py` starts it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from elastic_yolo.detector.artefacts import ModelCache
from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.conversion import make_int8, measure_precisions
from elastic_yolo.detector.engines import load
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.errors import ArtefactDamaged, DetectorError, NoPictures, SampleError
from elastic_yolo.detector.model import Model, read_model
from elastic_yolo.detector.precision import Report, read_report, write_report
from elastic_yolo.detector.samples import SampleFolder, SampleList, Samples
from elastic_yolo.parent_process import end_with_parent
from services.inference.measuring.task import Reply, Task

# A folder may have any number of pictures; these are enough to calibrate with and to judge by.
MAX_FOLDER_PICTURES = 100


class TooFewPictures(SampleError):
    """The pictures do not suffice; `in_folder` is the number of usable ones in the folder."""

    def __init__(self, message: str, in_folder: int) -> None:
        """Keep both."""
        super().__init__(message)
        self.in_folder = in_folder


def main() -> None:
    """Measure, and print the result."""
    task = Task.model_validate_json(sys.stdin.buffer.readline())
    end_before_parent(task.parent)
    reply = Reply()
    try:
        measure(task)
    except MemoryError:
        reply = failed("not enough memory")
    except TooFewPictures as raised:
        reply = failed(str(raised), raised.in_folder)
    except (DetectorError, OSError) as raised:
        reply = failed(str(raised))
    except Exception as raised:  # noqa: BLE001  # onnxruntime's and OpenVINO's have no common base
        reply = failed(f"{type(raised).__name__}: {raised}")
    print(reply.model_dump_json(), flush=True)  # noqa: T201  # the reply


def failed(why: str, in_folder: int | None = None) -> Reply:
    """Return the reply for a measurement that failed."""
    # The name of a file need not be UTF-8, but JSON is.
    text = why.encode("utf-8", "backslashreplace").decode()
    return Reply(error=text, in_folder=in_folder)


def end_before_parent(parent: int) -> None:
    """Be the first process that the kernel ends when memory is short; never outlive the parent."""
    # The kernel ends this process, not the service, if their memory limit is exceeded.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # The parent decides when this process ends; the terminal's Ctrl-C reaches both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not end_with_parent(parent, signal.SIGKILL):
        raise SystemExit(1)


def measure(task: Task) -> None:
    """Make and measure what the task names.

    Raises DetectorError, OSError, and what the quantiser raises.
    """
    model = read_model(task.model)
    if model.cache_key != task.cache_key:
        raise SampleError(f"{task.model} has changed since the service loaded it")
    samples = read_samples(task, model)
    model_cache = ModelCache(task.cache, model.cache_key)
    earlier = _read_report(model_cache)
    try:
        if "int8" in task.precisions and model_cache.load(load.INT8, load.INT8_RECIPE) is None:
            make_int8(model, samples, task.cache, lambda *_: None)
        options = EngineOptions(
            threads=task.threads, engine=task.engine, device=task.device, cache=task.cache
        )
        measure_precisions(model, samples, options, lambda *_: None, task.precisions)
    except BaseException:
        # make_int8 deletes the report on the previous int8 version.
        if earlier is not None:
            write_report(model_cache, earlier, load.INT8_RECIPE)
        raise


def _read_report(model_cache: ModelCache) -> Report | None:
    try:
        return read_report(model_cache, load.INT8_RECIPE)
    except ArtefactDamaged:
        return None


def read_samples(task: Task, model: Model) -> Samples:
    """Return the folder's pictures; with too few of them, together with those of requests.

    Raises TooFewPictures, and SampleError for an invalid label file.
    """
    size = model.network.input
    shape = (size.height, size.width, 3)
    received = [_read_image(shape) for _ in range(task.received)]
    unusable: list[Path] = []
    folder = _read_folder(task.folder, model, unusable)
    if len(folder) >= task.required:
        return folder
    found = len(folder) + len(received)
    if found < task.required:
        text = f"{found} usable pictures, {task.required} are needed{_name_some(unusable)}"
        raise TooFewPictures(text, len(folder))
    return SampleList([*folder, *received])


def _read_folder(folder: Path | None, model: Model, unusable: list[Path]) -> Samples:
    """Return the usable pictures of a folder; `unusable` receives the paths of the others."""
    if folder is None:
        return SampleList([])
    try:
        return SampleFolder(
            folder, model, lambda path, _error: unusable.append(path), MAX_FOLDER_PICTURES
        )
    except (NoPictures, OSError):
        # A folder that has gone is like an empty one: pictures of requests are enough.
        return SampleList([])


def _name_some(unusable: Sequence[Path]) -> str:
    if not unusable:
        return ""
    more = f" and {len(unusable) - 3} more" if len(unusable) > 3 else ""
    return f"; unusable: {', '.join(path.name for path in unusable[:3])}{more}"


def _read_image(shape: tuple[int, int, int]) -> Image:
    content = sys.stdin.buffer.read(shape[0] * shape[1] * shape[2])
    return np.frombuffer(content, np.uint8).reshape(shape)


if __name__ == "__main__":
    main()
