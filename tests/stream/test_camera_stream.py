"""A camera through the whole stream: frames of 30 a second against a model of 8, and an outage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.parallel import ParallelDetector
from elastic_yolo.stream.cameras.camera import CameraSource
from elastic_yolo.stream.detecting import Answer, InProcess
from elastic_yolo.stream.message import Result
from elastic_yolo.stream.metrics import Health, StreamMetrics
from elastic_yolo.stream.runner import Limits, Stream
from tests.stream.rtsp_server import Camera, needs_rtsp
from tests.support.tiny import write_tiny_model
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.long, needs_rtsp]
MODEL_S = 1 / 8


class ModelOfEight:
    """The tiny model, which takes an eighth of a second for a picture, one after the other."""

    def __init__(self, inside: InProcess) -> None:
        """Use a detection that looks at frames of a camera."""
        self.window = inside.window
        self._inside = inside
        self._thread = ThreadPoolExecutor(1)

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        return self._thread.submit(self._work, picture)

    def close(self) -> None:
        self._thread.shutdown()
        self._inside.close()

    def _work(self, picture: bytes | Frame) -> Answer:
        until = time.monotonic() + MODEL_S
        answer = self._inside.submit(picture).result()
        time.sleep(max(0.0, until - time.monotonic()))
        return answer


@dataclass
class Ages:
    """A sink that notes how old each frame is when its result arrives, and from which camera."""

    name: str = "ages"
    seen: list[tuple[str, float]] = field(default_factory=list)

    def write(self, results: Sequence[Result]) -> None:
        now = time.time()
        self.seen += [(one.message.source, now - one.message.added_at) for one in results]

    def close(self) -> None:
        pass


@contextmanager
def running(
    cameras: Sequence[Camera], ages: Ages, metrics: StreamMetrics, model: str
) -> Iterator[None]:
    """Run a stream of cameras through a model of 8 pictures a second."""
    inside = InProcess(ParallelDetector(Detector.load(model), streams=1), newest_only=True)
    detecting = ModelOfEight(inside)
    sources = [CameraSource(camera.url) for camera in cameras]
    stop = Event()
    stream = Stream(sources, [ages], detecting, Limits(), metrics, Health(), stop)
    thread = Thread(target=stream.run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for source in sources:
            source.close()
        detecting.close()


@pytest.fixture
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp("tiny")))


def test_answers_are_newer_than_half_a_second_and_dropped_frames_are_counted(model: str) -> None:
    ages, metrics = Ages(), StreamMetrics()
    with Camera(fps=30) as camera, running([camera], ages, metrics, model):
        wait_until(lambda: len(ages.seen) >= 80, "80 answers", 120)
        name = ages.seen[0][0]

        def dropped() -> float:
            labels = {"source": name}
            value = metrics.registry.get_sample_value(
                "elastic_yolo_stream_frames_dropped_total", labels
            )
            return value or 0.0

        # It is sampled every few seconds.
        wait_until(lambda: dropped() > 80, "dropped frames are counted", 60)
    newest = [age for _, age in ages.seen[10:]]
    # In a queue each answer would be older than the one before: 80 answers take 10 s, in which the
    # camera sends 300 frames.
    assert statistics.median(newest) < 0.5
    assert statistics.median(newest[-20:]) < 2 * statistics.median(newest[:20]) + MODEL_S


def test_after_an_outage_of_five_seconds_frames_go_on_by_themselves(model: str) -> None:
    ages = Ages()
    with Camera(fps=30) as camera, running([camera], ages, StreamMetrics(), model):
        wait_until(lambda: len(ages.seen) >= 8, "frames come", 60)
        camera.kill()
        killed_at = time.monotonic()
        wait_until(lambda: time.monotonic() > killed_at + 5, "five seconds", 30)
        before = len(ages.seen)
        camera.start()

        wait_until(lambda: len(ages.seen) >= before + 16, "frames come again", 120)

    assert statistics.median(age for _, age in ages.seen[-8:]) < 0.5


def test_several_cameras_share_the_model_evenly(model: str) -> None:
    ages = Ages()
    with (
        Camera(fps=30) as yard,
        Camera(fps=30) as door,
        Camera(fps=30) as hall,
        running([yard, door, hall], ages, StreamMetrics(), model),
    ):
        wait_until(lambda: len({name for name, _ in ages.seen}) == 3, "all of them", 120)
        first = len(ages.seen)
        wait_until(lambda: len(ages.seen) >= first + 60, "60 answers", 120)

    counts = [
        sum(name == one for name, _ in ages.seen[first:]) for one in {n for n, _ in ages.seen}
    ]
    assert min(counts) >= 10, counts
