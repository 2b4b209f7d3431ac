"""The order of receiving, writing and acknowledging, and what happens when an end fails."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event, Thread

import numpy as np
import pytest

from elastic_yolo.detector.boxes import Floats, Image
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.parallel import ParallelDetector
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.stream.detecting import Answer, Detecting, InProcess
from elastic_yolo.stream.errors import Refused, Unavailable
from elastic_yolo.stream.message import Message, result_id
from elastic_yolo.stream.metrics import Health, StreamMetrics
from elastic_yolo.stream.runner import Limits, Stream
from tests.stream.memory_ends import MemorySink, MemorySource, messages
from tests.support.pictures import encode, plain
from tests.support.tiny import SCORE, write_tiny_model
from tests.support.waiting import wait_until

PICTURE = encode(plain(64, 64))
BROKEN = PICTURE[:-30]


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return Detector.load(write_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def detecting(detector: Detector) -> Iterator[InProcess]:
    """Detection with the tiny model in this process."""
    inside = InProcess(ParallelDetector(detector), newest_only=False)
    yield inside
    inside.close()


@dataclass
class Failing:
    """Detection that fails so many times for each picture, and then answers."""

    times: int
    inside: Detecting
    window: int = 4
    asked: dict[bytes, int] = field(default_factory=dict)

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        assert isinstance(picture, bytes)
        self.asked[picture] = self.asked.get(picture, 0) + 1
        if self.asked[picture] > self.times:
            return self.inside.submit(picture)
        failed: Future[Answer] = Future()
        failed.set_exception(RuntimeError("the engine failed"))
        return failed

    def close(self) -> None:
        pass


class Broken:
    """An engine that fails with the pictures that `fails` says; the rest is another one's."""

    batches = False

    def __init__(self, inside: Engine, fails: Callable[[Image], bool]) -> None:
        """Use an engine."""
        self._inside = inside
        self._fails = fails

    def __getattr__(self, name: str) -> object:
        return getattr(self._inside, name)

    def execute(self, images: Image) -> list[Floats]:
        if self._fails(images):
            raise RuntimeError("device lost")
        return self._inside.execute(images)

    def split(self, parts: int) -> list[Engine]:
        del parts
        return []


@pytest.fixture
def breaking(
    detector: Detector,
) -> Iterator[Callable[[Callable[[Image], bool]], InProcess]]:
    """Return detection in this process with an engine that fails with some pictures."""
    made: list[InProcess] = []

    def make(fails: Callable[[Image], bool]) -> InProcess:
        engine = Broken(detector.engine, fails)
        broken = Detector(detector.model, engine)  # type: ignore[arg-type]
        made.append(InProcess(ParallelDetector(broken), newest_only=False))
        return made[-1]

    yield make
    for one in made:
        one.close()


def raising(times: int, error: Exception) -> Callable[[], None]:
    """Return a function that raises so many times."""
    left = [times]

    def fail() -> None:
        if left[0]:
            left[0] -= 1
            raise error

    return fail


def stream(
    source: MemorySource | Sequence[MemorySource],
    sinks: Sequence[MemorySink],
    detecting: Detecting,
    *,
    tries: int = 3,
    drain_s: float = 30.0,
    stop: Event | None = None,
    metrics: StreamMetrics | None = None,
    health: Health | None = None,
) -> Stream:
    sources = [source] if isinstance(source, MemorySource) else list(source)
    return Stream(
        sources,
        sinks,
        detecting,
        Limits(tries, drain_s),
        metrics or StreamMetrics(),
        health or Health(),
        stop or Event(),
    )


def test_each_message_is_written_then_acknowledged(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE] * 100), events := [])
    sink = MemorySink(events)

    stream(source, [sink], detecting).run()

    ids = {str(number) for number in range(100)}
    for number in ids:
        assert [what for what, name in events if name == number] == ["written", "acknowledged"]
    assert {result.message.id for result in sink.results} == ids


def test_a_result_has_the_detections_in_pixels_and_an_id_of_message_and_model(
    detecting: InProcess, detector: Detector
) -> None:
    (message,) = messages([PICTURE])
    sink = MemorySink([])

    stream(MemorySource([message], []), [sink], detecting).run()

    (result,) = sink.results
    value = result.to_json()
    assert value == {
        "id": result_id(message, detector.model.digest),
        "source": "memory",
        "message": "0",
        "added_at": 1000.0,
        "data": [["square", pytest.approx(SCORE, abs=1e-5), [32.0, 32.0, 32.0, 16.0]]],
        "image": {"width": 64, "height": 64},
        "model": {"name": "tiny", "version": "1", "digest": detector.model.digest},
    }


def test_the_id_of_a_result_depends_on_source_message_and_model_only() -> None:
    one = Message("cameras", "1-0", b"a", added_at=1.0)
    again = Message("cameras", "1-0", b"a", added_at=9.0, deliveries=2, handle="other")
    ids = [
        result_id(one, "sha256:a"),
        result_id(one, "sha256:b"),
        result_id(Message("cameras", "1-1", b"a", added_at=1.0), "sha256:a"),
        result_id(Message("doors", "1-0", b"a", added_at=1.0), "sha256:a"),
    ]

    assert result_id(again, "sha256:a") == ids[0]
    assert len(set(ids)) == 4
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_a_picture_that_does_not_decode_is_rejected_with_the_reason(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE, BROKEN, b"", b"text", PICTURE]), events := [])

    running = stream(source, [MemorySink(events)], detecting)
    running.run()

    assert set(source.rejected) == {"1", "2", "3"}
    assert source.rejected["1"].startswith("PictureUndecodable: ")
    assert source.rejected["3"].startswith("NotAPicture: ")
    assert {name for what, name in events if what == "acknowledged"} == {"0", "4"}
    assert (running.answered, running.rejected) == (2, 3)


def test_a_picture_that_the_source_found_unusable_is_rejected_and_counted(
    detecting: InProcess,
) -> None:
    (message,) = messages([b""])
    message = dataclasses.replace(message, fault=PictureTooLarge("it has more than 1 byte"))
    source, metrics = MemorySource([message], []), StreamMetrics()

    running = stream(source, [MemorySink([])], detecting, metrics=metrics)
    running.run()

    assert list(source.rejected.values()) == ["PictureTooLarge: it has more than 1 byte"]
    assert running.rejected == 1
    labels = {"source": source.name, "outcome": "rejected"}
    assert metrics.registry.get_sample_value("elastic_yolo_stream_messages_total", labels) == 1


def test_a_sink_that_is_away_delays_and_loses_nothing(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE] * 10), events := [])
    first, second = MemorySink(events, "first"), MemorySink(events, "second")
    second.fail = raising(3, Unavailable("away"))

    stream(source, [first, second], detecting).run()

    for sink in (first, second):
        assert sorted(int(one.message.id) for one in sink.results) == list(range(10))
    assert sum(what == "acknowledged" for what, _ in events) == 10


def test_what_no_sink_takes_is_not_acknowledged(detecting: InProcess) -> None:
    """The drain ends, and the source delivers the messages again."""
    stop = Event()
    source = MemorySource(messages([PICTURE] * 10), events := [])
    sink = MemorySink(events)

    def fail() -> None:
        stop.set()
        raise Unavailable("away")

    sink.fail = fail

    running = stream(source, [sink], detecting, stop=stop, drain_s=0.2)
    running.run()

    assert events == []
    assert running.given_up == 10


def test_the_window_bounds_what_is_in_hand(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE] * 300), [])
    sink = MemorySink([])
    sink.fail = raising(2, Unavailable("away"))

    stream(source, [sink], detecting).run()

    assert source.largest <= detecting.window


def test_a_source_that_is_away_is_asked_again(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE] * 3), events := [])
    source.fail = raising(2, Unavailable("away"))
    metrics = StreamMetrics()

    stream(source, [MemorySink(events)], detecting, metrics=metrics).run()

    assert sum(what == "acknowledged" for what, _ in events) == 3
    retries = metrics.registry.get_sample_value(
        "elastic_yolo_stream_retries_total", {"end": "memory"}
    )
    assert retries == 2


def test_an_end_that_refuses_ends_the_stream(detecting: InProcess) -> None:
    source = MemorySource(messages([PICTURE]), [], ends=False)
    source.fail = raising(1, Refused("no such user"))

    with pytest.raises(Refused, match="no such user"):
        stream(source, [MemorySink([])], detecting).run()


def test_detection_that_fails_is_tried_again(detecting: InProcess) -> None:
    failing = Failing(2, detecting)
    source = MemorySource(messages([PICTURE]), events := [])

    stream(source, [MemorySink(events)], failing, tries=3).run()

    assert events == [("written", "0"), ("acknowledged", "0")]
    assert failing.asked[PICTURE] == 3


def test_detection_that_always_fails_ends_in_the_dead_letters(detecting: InProcess) -> None:
    failing = Failing(1000, detecting)
    source = MemorySource(messages([PICTURE]), [])

    stream(source, [MemorySink([])], failing, tries=3).run()

    assert source.rejected == {"0": "RuntimeError: the engine failed"}
    assert failing.asked[PICTURE] == 3


def test_an_engine_that_fails_with_every_picture_ends_the_stream_and_rejects_none(
    breaking: Callable[[Callable[[Image], bool]], InProcess],
) -> None:
    """As after an error of the GPU: a queue must not become dead letters."""
    source = MemorySource(messages([PICTURE] * 50), events := [])

    with pytest.raises(Refused, match=r"with every picture: EngineError: .*device lost"):
        stream(source, [MemorySink(events)], breaking(lambda _: True)).run()

    assert events == []


def test_an_engine_that_fails_with_one_picture_rejects_that_one(
    breaking: Callable[[Callable[[Image], bool]], InProcess],
) -> None:
    white = encode(np.full((64, 64, 3), 255, np.uint8))
    source = MemorySource(messages([PICTURE, white, PICTURE]), events := [])

    stream(source, [MemorySink(events)], breaking(lambda images: images.min() > 250)).run()

    assert list(source.rejected) == ["1"]
    assert "device lost" in source.rejected["1"]
    # In any order: the picture of a message may be in another thread than that of the one before.
    assert sorted(name for what, name in events if what == "acknowledged") == ["0", "2"]


def test_the_log_says_once_when_an_end_that_was_away_works_again(
    detecting: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source = MemorySource(messages([PICTURE] * 3), [])
    source.fail = raising(2, Unavailable("memory: connection refused"))

    stream(source, [MemorySink([])], detecting).run()

    said = [one.getMessage() for one in caplog.records if "memory:" in one.getMessage()]
    assert [one.partition(": next attempt")[0] for one in said] == [
        "memory: connection refused",
        "memory: connection refused",
        "memory: it works again",
    ]


def test_no_thread_uses_the_ends_when_the_caller_closes_them(detecting: InProcess) -> None:
    stop = Event()
    source = MemorySource(messages([PICTURE]), [], ends=False)
    sink = MemorySink([])
    sink.fail = raising(1, Refused("no such topic"))

    with pytest.raises(Refused):
        stream(source, [sink], detecting, stop=stop).run()

    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"sample", "receive-0"}


def test_a_message_that_was_delivered_too_often_is_not_tried_once_more(
    detecting: InProcess,
) -> None:
    """It may be what ended the process each time."""
    failing = Failing(0, detecting)
    source = MemorySource(messages([PICTURE], deliveries=4), [])

    stream(source, [MemorySink([])], failing, tries=3).run()

    assert list(source.rejected) == ["0"]
    assert "delivered 3 times without an answer" in source.rejected["0"]
    assert failing.asked == {}


def test_after_the_stop_nothing_is_received_and_what_is_in_hand_is_finished(
    detecting: InProcess,
) -> None:
    stop = Event()
    source = MemorySource(messages([PICTURE] * 1000), events := [])
    sink = MemorySink(events)
    sink.fail = stop.set

    stream(source, [sink], detecting, stop=stop).run()

    acknowledged = sum(what == "acknowledged" for what, _ in events)
    assert acknowledged == 1000 - len(source.waiting)
    assert acknowledged < 1000


def test_all_messages_of_several_sources_are_answered(detecting: InProcess) -> None:
    events: list[tuple[str, str]] = []
    sources = [MemorySource(messages([PICTURE] * 50), events, name=f"s{n}") for n in range(3)]

    stream(sources, [MemorySink(events)], detecting).run()

    assert sum(what == "acknowledged" for what, _ in events) == 150


def test_sources_that_wait_for_messages_hold_up_no_other_one(detecting: InProcess) -> None:
    stop, waiting = Event(), Event()
    idle = [MemorySource([], [], name=f"idle-{number}", ends=False) for number in range(3)]
    for one in idle:
        # As a broker that is asked to wait for the next message.
        one.fail = waiting.wait  # type: ignore[assignment]
    busy = MemorySource(messages([PICTURE] * 100), events := [], ends=False)
    thread = Thread(target=stream([*idle, busy], [MemorySink(events)], detecting, stop=stop).run)
    thread.start()

    try:
        wait_until(lambda: busy.lag() == 0, "all are answered", 60)
    finally:
        waiting.set()
        stop.set()
        thread.join()


def test_the_metrics_count_what_became_of_messages(detecting: InProcess) -> None:
    metrics = StreamMetrics()
    sent = messages([PICTURE, BROKEN, PICTURE], deliveries=2)

    stream(MemorySource(sent, []), [MemorySink([])], detecting, metrics=metrics).run()

    def value(name: str, **labels: str) -> float | None:
        labels = {"source": "memory", **labels}
        return metrics.registry.get_sample_value(f"elastic_yolo_stream_{name}", labels)

    assert value("messages_total", outcome="answered") == 2
    assert value("messages_total", outcome="rejected") == 1
    assert value("redelivered_total") == 3
    assert value("delay_seconds_count") == 2
    # The newest picture entered at 1002 s after the start of 1970.
    assert (value("answered_age_seconds") or 0) > 1e9


def test_the_process_is_ready_once_every_source_was_reached(detecting: InProcess) -> None:
    stop, health = Event(), Health()
    ready: list[bool] = []
    source = MemorySource([], [], ends=False)
    away = MemorySource([], [], name="away", ends=False)

    def fail() -> None:
        ready.append(health.ready)
        if len(ready) < 4:
            raise Unavailable("away")

    away.fail = fail
    running = stream([source, away], [MemorySink([])], detecting, stop=stop, health=health)
    thread = Thread(target=running.run)
    thread.start()
    wait_until(lambda: health.ready, "ready", 30)
    stop.set()
    thread.join()

    assert ready[:4] == [False] * 4
    assert not health.ready
