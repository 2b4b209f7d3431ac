"""From numbers of pictures to results in the same order, in the threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Protocol, TypeVar

from elastic_yolo.batch.errors import StorageFailed
from elastic_yolo.batch.pictures import Pictures
from elastic_yolo.detector.parallel import Found, ParallelDetector
from elastic_yolo.picture.errors import PictureError

Outcome = Found | PictureError | OSError
"""The result for a picture, or why there is none and never will be."""

# Reading again helps when a network file system or an object store fails for a moment.
_PAUSES_S = (0.5, 2.0, 8.0)
# Connections to an object store.
_READERS = 16
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


class Detecting(Protocol):
    """What detects in the pictures of a job: this process, or Ray."""

    engine: str
    """Engine and precision, for the manifest: `openvino int8`."""

    def outcomes(self, numbers: Iterable[int], stop: Event) -> Iterator[tuple[int, Outcome]]:
        """Yield the outcomes in the order of the numbers; after `stop`, none that takes time.

        Raises StorageFailed, and what the engine raises.
        """


class LocalDetecting:
    """Detection in the threads of this process."""

    def __init__(self, detector: ParallelDetector, pictures: Pictures) -> None:
        """Use a detector, which the caller closes."""
        engine = detector.detector.engine
        self.engine = f"{engine.name} {engine.precision}"
        self._detector = detector
        self._pictures = pictures

    def outcomes(self, numbers: Iterable[int], stop: Event) -> Iterator[tuple[int, Outcome]]:
        """See Detecting.outcomes."""
        with ThreadPoolExecutor(_READERS, "read") as readers:

            def submit(number: int) -> Future[Found]:
                return self._detector.submit(self._load(number, readers, stop))

            ahead = self._detector.ahead + (_READERS if self._pictures.remote else 0)
            for number, future in in_order(numbers, submit, ahead, stop):
                yield number, outcome_of(future.result)

    def _load(self, number: int, readers: ThreadPoolExecutor, stop: Event) -> Callable[[], bytes]:
        """Return what returns the content of a picture when it is decoded."""
        if self._pictures.sequential:
            content = outcome_of(lambda: read_patiently(self._pictures, number, stop))
            return lambda: _returned(content)
        if self._pictures.remote:
            # Reading waits for the network: more threads than those that decode.
            return readers.submit(read_patiently, self._pictures, number, stop).result
        return lambda: read_patiently(self._pictures, number, stop)


def in_order(
    items: Iterable[_Item],
    submit: Callable[[_Item], Future[_Value]],
    ahead: int,
    stop: Event,
) -> Iterator[tuple[_Item, Future[_Value]]]:
    """Submit items, at most `ahead` before the first unfinished one; yield them in order.

    After `stop`, only those that are done already.
    """
    waiting: deque[tuple[_Item, Future[_Value]]] = deque()
    for item in items:
        if stop.is_set():
            break
        waiting.append((item, submit(item)))
        if len(waiting) > ahead:
            yield waiting.popleft()
    while waiting and not (stop.is_set() and not waiting[0][1].done()):
        yield waiting.popleft()
    for _, future in waiting:
        future.cancel()


def outcome_of(result: Callable[[], _Value]) -> _Value | PictureError | OSError:
    """Return a result, or the error of a bad picture; raises every other error."""
    try:
        return result()
    except (PictureError, OSError) as error:
        return error


def read_patiently(pictures: Pictures, number: int, stop: Event) -> bytes:
    """Return the content of a picture; what may be over soon is tried again.

    Raises PictureError or OSError for a bad picture, and StorageFailed after the last attempt.
    """
    for pause_s in _PAUSES_S:
        try:
            return pictures.read(number)
        except StorageFailed:
            if stop.wait(pause_s):
                raise
    return pictures.read(number)


def _returned(content: bytes | PictureError | OSError) -> bytes:
    if isinstance(content, bytes):
        return content
    raise content
