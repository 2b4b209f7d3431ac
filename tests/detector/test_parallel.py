"""Detection in many pictures at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from pathlib import Path
from threading import Barrier, Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.detector.boxes import Detection, Floats, Image
from elastic_yolo.detector.decoding_memory import DecodingMemory
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.engines.choose import EngineOptions
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.parallel import MOST_BATCHED, Found, ParallelDetector, Parameters
from elastic_yolo.lab.processes.stack import ROOT
from elastic_yolo.picture.errors import NotAPicture, PictureTooLarge, PictureUndecodable
from tests.support.pictures import encode, plain, png_bomb


@pytest.fixture
def detector(tiny_model: Path) -> Detector:
    """The tiny model in OpenVINO."""
    return Detector.load(tiny_model, EngineOptions(2, "openvino"))


def pictures(count: int) -> list[bytes]:
    """Return pictures of different sizes, in all file formats."""
    kinds = ("PNG", "JPEG", "WEBP", "BMP")
    return [encode(plain(32 + 7 * n % 90, 40 + n), kinds[n % 4]) for n in range(count)]


def expected(
    detector: Detector, data: bytes, parameters: Parameters | None = None
) -> list[Detection]:
    """Return what Detector.detect finds."""
    chosen = parameters or Parameters()
    return detector.detect(data, chosen.threshold, chosen.iou, exact=chosen.exact)


@pytest.mark.parametrize(
    "parameters", [Parameters(), Parameters(0.99), Parameters(0.1, 0.2, exact=True)]
)
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_results_are_those_of_detect_in_the_order_of_the_pictures(
    tiny_model: Path, engine: str, parameters: Parameters
) -> None:
    detector = Detector.load(tiny_model, EngineOptions(2, engine))
    files = pictures(60)

    with ParallelDetector(detector, parameters) as parallel:
        found = [one.result() for one in [parallel.submit(lambda f=f: f) for f in files]]

    assert [list(one.detections) for one in found] == [
        expected(detector, data, parameters) for data in files
    ]
    assert [one.size for one in found] == [(32 + 7 * n % 90, 40 + n) for n in range(60)]


@pytest.mark.parametrize("is_bgr", [False, True])
def test_pixels_are_detected_in_like_files(detector: Detector, is_bgr: bool) -> None:
    pixels = plain(320, 160)

    with ParallelDetector(detector) as parallel:
        found = parallel.submit(lambda: Frame(pixels, is_bgr=is_bgr)).result()

    assert list(found.detections) == detector.detect(rgb=pixels)
    assert found.size == (320, 160)


@pytest.mark.parametrize("streams", [None, 1, 3])
def test_streams_and_threads_do_not_change_the_results(
    detector: Detector, streams: int | None
) -> None:
    files = pictures(20)

    with ParallelDetector(detector, threads=3, streams=streams) as parallel:
        found = [one.result() for one in [parallel.submit(lambda f=f: f) for f in files]]

    assert len(parallel.engines) == (streams or 3)
    assert parallel.ahead == 6 + 4 * (streams or 3)
    assert [list(one.detections) for one in found] == [expected(detector, data) for data in files]


class Batching:
    """An engine that gains from batches, as on a GPU; it notes how large they are."""

    batches = True
    name, precision, device = "batching", "fp32", "cpu"

    def __init__(self, engine: Engine) -> None:
        """Run the batches on another engine, once `go` is set."""
        self.sizes: list[int] = []
        self.go = Event()
        self._engine = engine

    def execute(self, images: Image) -> list[Floats]:
        self.go.wait()
        self.sizes.append(len(images))
        return self._engine.execute(images)

    def split(self, parts: int) -> list[Engine]:
        del parts
        return []


@pytest.mark.parametrize("exact", [False, True])
def test_an_engine_that_gains_from_batches_gets_what_is_decoded(
    tiny_model: Path, exact: bool
) -> None:
    detector = Detector.load(tiny_model, EngineOptions(2, "onnxruntime"))
    engine = Batching(detector.engine)
    files = pictures(70)

    with ParallelDetector(Detector(detector.model, engine), Parameters(exact=exact)) as parallel:
        futures = [parallel.submit(lambda f=f: f) for f in files]
        # Closing it then decodes everything; the last ones are a batch behind the mark of the end.
        wait([parallel.submit(bad)])
        engine.go.set()
        found = [one.result() for one in futures]

    assert max(engine.sizes) == MOST_BATCHED
    assert sum(engine.sizes) == len(files)
    assert parallel.ahead > 4 * MOST_BATCHED
    assert [list(one.detections) for one in found] == [
        expected(detector, data, Parameters(exact=exact)) for data in files
    ]


def bad() -> bytes:
    """Return what is no picture."""
    return b"none"


def test_an_error_reaches_its_own_picture_alone(detector: Detector) -> None:
    good = encode(plain(64, 64))

    def gone() -> bytes:
        raise FileNotFoundError("gone")

    with ParallelDetector(detector) as parallel:
        futures = [
            parallel.submit(load)
            for load in (lambda: good, bad, gone, lambda: good[:60], lambda: good)
        ]
        errors = [type(one.exception()) for one in futures]

    nothing = type(None)
    assert errors == [nothing, NotAPicture, FileNotFoundError, PictureUndecodable, nothing]
    assert futures[0].result() == futures[4].result()


class Failing(Batching):
    """An engine that fails in its own way, as one whose memory is used up."""

    def __init__(self, engine: Engine, error: Exception) -> None:
        """Raise `error` in the second run."""
        super().__init__(engine)
        self.error = error
        self.go.set()

    def execute(self, images: Image) -> list[Floats]:
        found = super().execute(images)
        if len(self.sizes) == 2:
            raise self.error
        return found


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA out of memory"), EngineError),
        (EngineError("CUDA out of memory"), EngineError),
        (MemoryError("CUDA out of memory"), MemoryError),
    ],
)
def test_an_engine_that_fails_is_named_and_the_next_pictures_are_tried(
    detector: Detector, error: Exception, kind: type[Exception]
) -> None:
    engine = Failing(detector.engine, error)
    picture = encode(plain(64, 64))

    with ParallelDetector(Detector(detector.model, engine), streams=1) as parallel:
        # One after the other: each is a batch.
        found: list[object] = []
        for _ in range(3):
            future = parallel.submit(lambda: picture)
            found.append(future.exception())

    assert [type(one) for one in found] == [type(None), kind, type(None)]
    assert "CUDA out of memory" in str(found[1])


def test_closing_ends_what_runs_and_cancels_what_waits(detector: Detector) -> None:
    picture = encode(plain(64, 64))
    begun, go = Barrier(3), Event()

    def slow() -> bytes:
        begun.wait()
        go.wait()
        return picture

    parallel = ParallelDetector(detector, threads=2)
    running = [parallel.submit(slow) for _ in range(2)]
    begun.wait()
    waiting = [parallel.submit(lambda: picture) for _ in range(5)]
    asked: list[object] = []
    asking = threading.Thread(target=lambda: asked.append(failure_of(waiting[-1])))
    asking.start()
    closing = threading.Thread(target=parallel.close)
    closing.start()
    wait(waiting)
    go.set()
    closing.join()
    asking.join()

    assert all(one.result().detections for one in running)
    assert all(one.cancelled() for one in waiting)
    assert isinstance(asked[0], CancelledError)
    with pytest.raises(RuntimeError):
        parallel.submit(lambda: picture)


def failure_of(future: Future[Found]) -> object:
    """Wait for a result; return the error instead of it."""
    try:
        return future.result()
    except CancelledError as error:
        return error


def test_a_cancelled_picture_is_not_read(detector: Detector) -> None:
    read, begun, go = [], Barrier(2), Event()

    def slow() -> bytes:
        begun.wait()
        go.wait()
        return b"none"

    with ParallelDetector(detector, threads=1) as parallel:
        parallel.submit(slow)
        begun.wait()
        cancelled = parallel.submit(lambda: read.append(1) or b"none")  # type: ignore[func-returns-value]
        assert cancelled.cancel()
        go.set()
        assert isinstance(parallel.submit(bad).exception(), NotAPicture)
    assert read == []


def test_a_picture_that_takes_more_than_all_may_is_too_large(detector: Detector) -> None:
    # 8 bytes a pixel: tests/services/test_decoding_memory.py.
    fits, exceeds = encode(plain(100, 50)), encode(plain(100, 51))

    with ParallelDetector(detector, decoding_bytes=100 * 50 * 8) as parallel:
        assert parallel.submit(lambda: fits).result().detections
        error = parallel.submit(lambda: exceeds).exception()
        bomb = parallel.submit(lambda: png_bomb(90_000, 90_000)).exception()

    assert isinstance(error, PictureTooLarge)
    assert isinstance(bomb, PictureTooLarge)
    assert "takes 64,800 MB, more than the limit of 0 MB" in str(bomb)


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 10))
def test_pictures_together_never_take_more_than_the_limit(sizes: list[int], limit: int) -> None:
    memory = DecodingMemory(limit)
    held, most, refused = [0], [0], []
    lock, numbers = threading.Lock(), iter(sizes)

    def work() -> None:
        while True:
            with lock:
                size = next(numbers, None)
            if size is None:
                return
            try:
                with memory.taken(size):
                    with lock:
                        held[0] += size
                        most[0] = max(most[0], held[0])
                    with lock:
                        held[0] -= size
            except PictureTooLarge:
                refused.append(size)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most[0] <= limit
    assert sorted(refused) == sorted(size for size in sizes if size > limit)


def test_memory_is_free_again_after_an_error() -> None:
    memory = DecodingMemory(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), memory.taken(10):
            raise ValueError("x")


FIRST_RUNS = """
import sys
from threading import Barrier, Thread
import numpy as np
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.choose import EngineOptions

engines = Detector.load(sys.argv[1], EngineOptions(2, "openvino")).engine.split(2)
barrier = Barrier(2)

def run(engine):
    barrier.wait()
    engine.execute(np.zeros((1, 32, 32, 3), np.uint8))

threads = [Thread(target=run, args=(engine,)) for engine in engines]
sys.setswitchinterval(1e-6)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture
def first_runs(tiny_model: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Return four processes, in each of which two streams of OpenVINO run for the first time."""
    command = [sys.executable, "-c", FIRST_RUNS, str(tiny_model)]
    started = [subprocess.Popen(command, cwd=ROOT) for _ in range(4)]
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.long
@pytest.mark.parametrize("_", range(10))
def test_streams_that_run_for_the_first_time_do_not_wait_for_each_other(
    first_runs: list[subprocess.Popen[bytes]], _: int
) -> None:
    """OpenVINO's look-up of NumPy's types took two locks in different orders: one in five hung."""
    assert [process.wait(120) for process in first_runs] == [0] * 4


def test_frames_of_another_size_are_prepared_like_files(detector: Detector) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (45, 60, 3), np.uint8)

    with ParallelDetector(detector, Parameters(exact=True)) as parallel:
        frame, file = (
            parallel.submit(load).result()
            for load in (lambda: Frame(pixels, is_bgr=False), lambda: encode(pixels))
        )

    assert frame == file
