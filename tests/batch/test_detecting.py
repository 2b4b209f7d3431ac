"""Outcomes in order: how far work runs ahead, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastic_yolo.batch.detecting import (
    BadPicture,
    LocalDetecting,
    in_order,
    outcome_of,
    read_now,
    read_patiently,
)
from elastic_yolo.batch.errors import StorageFailed
from elastic_yolo.batch.pictures import Pictures, open_pictures
from elastic_yolo.detector.detector import Detector
from elastic_yolo.detector.parallel import Found, ParallelDetector
from elastic_yolo.picture.errors import NotAPicture, PictureUndecodable
from tests.support.pictures import encode, plain

MEGABYTE = 2**20


class Submitted:
    """Work that ends when a test says so."""

    def __init__(self) -> None:
        """Start without work."""
        self.futures: dict[int, Future[int]] = {}

    def __call__(self, item: int) -> Future[int]:
        future = self.futures[item] = Future()
        return future

    def finish(self, item: int) -> None:
        self.futures[item].set_result(item)


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 8))
def test_work_runs_ahead_and_results_come_in_order(sizes: list[int], ahead: int) -> None:
    """Never more pictures than `ahead`, nor more than 256 MB of them, but one in any case."""
    submitted = Submitted()
    items = range(len(sizes))
    found = in_order(items, submitted, ahead, Event(), lambda item: sizes[item] * MEGABYTE)
    came = []
    for item, _ in found:
        waiting = [one for one in submitted.futures if one not in came]
        assert len(waiting) <= ahead
        assert len(waiting) == 1 or sum(sizes[one] for one in waiting) <= 256
        came.append(item)

    assert came == list(items)


def test_after_a_stop_only_what_is_done_comes() -> None:
    submitted, stop = Submitted(), Event()
    found = in_order(range(10), submitted, 4, stop)
    next(found)
    for item in (0, 1, 3):
        submitted.finish(item)
    stop.set()

    # The next one was waited for already.
    assert [item for item, _ in found] == [1]
    assert submitted.futures[2].cancelled()
    assert sorted(submitted.futures) == [0, 1, 2, 3]


def test_what_waits_is_cancelled_when_nobody_wants_it() -> None:
    submitted = Submitted()
    with closing(in_order(range(10), submitted, 3, Event())) as found:
        next(found)

    assert [one.cancelled() for one in submitted.futures.values()] == [False, True, True]


def test_bad_pictures_are_outcomes_and_other_errors_are_raised() -> None:
    def fail(error: Exception) -> Found:
        raise error

    assert outcome_of(lambda: fail(NotAPicture("found text"))) == BadPicture(
        "found text", "NotAPicture"
    )
    assert outcome_of(lambda: fail(FileNotFoundError(2, "No such file", "/x"))) == BadPicture(
        "No such file", "FileNotFoundError"
    )
    for error in (StorageFailed("gone"), MemoryError()):
        with pytest.raises(type(error)):
            outcome_of(lambda error=error: fail(error))  # type: ignore[misc]


class Failing:
    """Pictures of a storage that fails the first `failures` times."""

    sequential = False

    def __init__(self, names: list[str], failures: int, error: Exception) -> None:
        """Raise `error` so often."""
        self.names = names
        self.failures = failures
        self.error = error
        self.attempts = 0
        self.remote = False

    def size(self, _: int) -> int:
        return 0

    def close(self) -> None:
        pass

    def read(self, number: int) -> bytes:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise self.error
        return self.names[number].encode()


def test_reading_is_tried_again_after_a_pause() -> None:
    pictures = Failing(["a"], 1, StorageFailed("connection lost"))

    assert read_patiently(pictures, 0, Event()) == b"a"
    assert pictures.attempts == 2


def test_a_stop_ends_the_pause() -> None:
    stop = Event()
    stop.set()

    with pytest.raises(StorageFailed):
        read_patiently(Failing(["a"], 9, StorageFailed("connection lost")), 0, stop)


def test_a_bad_picture_is_not_read_again() -> None:
    pictures = Failing(["a"], 9, PictureUndecodable("encrypted"))

    load = read_now(pictures, 0, Event())

    assert pictures.attempts == 1
    with pytest.raises(PictureUndecodable):
        load()


@pytest.fixture
def parallel(tiny_model: Path) -> Iterator[ParallelDetector]:
    """The tiny model, for many pictures at once."""
    with ParallelDetector(Detector.load(tiny_model)) as detector:
        yield detector


class Ordered:
    """Pictures that must be read in order, by one thread at a time."""

    sequential = True

    def __init__(self, pictures: Pictures, *, remote: bool) -> None:
        """Read from other pictures, and note the order."""
        self.names, self.size, self.remote = pictures.names, pictures.size, remote
        self.close = pictures.close
        self._read = pictures.read
        self.numbers: list[int] = []

    def read(self, number: int) -> bytes:
        self.numbers.append(number)
        return self._read(number)


@pytest.mark.parametrize("remote", [False, True])
def test_what_must_be_read_in_order_is(
    tmp_path: Path, parallel: ParallelDetector, remote: bool
) -> None:
    for number in range(100):
        content = encode(plain(64, 32)) if number % 10 else b"none"
        (tmp_path / f"{number:03}.png").write_bytes(content)
    pictures = Ordered(open_pictures(str(tmp_path)), remote=remote)

    found = list(LocalDetecting(parallel, pictures).outcomes(range(0, 100, 2), Event()))

    assert pictures.numbers == [number for number, _ in found] == list(range(0, 100, 2))
    assert [isinstance(one, BadPicture) for _, one in found] == [
        n % 10 == 0 for n in range(0, 100, 2)
    ]


@pytest.mark.long
@pytest.mark.parametrize("remote", [False, True])
def test_a_storage_that_stays_away_ends_the_work(parallel: ParallelDetector, remote: bool) -> None:
    """After the pauses, 10 s, for all pictures together."""
    pictures = Failing(["a.png"] * 100, 1000, StorageFailed("away"))
    pictures.remote = remote

    with pytest.raises(StorageFailed, match="away"):
        list(LocalDetecting(parallel, pictures).outcomes(range(100), Event()))
    assert pictures.attempts <= 4 * (parallel.ahead + 16)
