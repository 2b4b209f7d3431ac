"""From numbers of pictures to results in the same order, in the threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Protocol, Self, TypeVar

from elastic_yolo.batch.errors import StorageFailed
from elastic_yolo.batch.pictures import Pictures
from elastic_yolo.detector.parallel import Found, ParallelDetector
from elastic_yolo.picture.errors import PictureError

# Reading again helps when a network file system or an object store fails for a moment.
_PAUSES_S = (0.5, 2.0, 8.0)
# Connections to an object store.
_READERS = 16
# Of pictures that are read and not yet decoded. One larger picture still passes.
_MOST_AHEAD_BYTES = 256 * 2**20
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class BadPicture:
    """Why there is no result for a picture, and never will be; `kind` is the type of the error."""

    reason: str
    kind: str

    @classmethod
    def of(cls, error: PictureError | OSError) -> Self:
        """Describe an error."""
        text = error.strerror if isinstance(error, OSError) else None
        return cls(text or str(error), type(error).__name__)


Outcome = Found | BadPicture
Outcomes = Generator[tuple[int, Outcome], None, None]
"""Numbers of pictures, and their outcomes; closing it ends the work."""


class Detecting(Protocol):
    """What detects in the pictures of a job: this process, or Ray."""

    engine: str
    """Engine and precision, for the manifest: `openvino int8`. Known with the first outcome."""

    def outcomes(self, numbers: Sequence[int], stop: Event) -> Outcomes:
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

    def outcomes(self, numbers: Sequence[int], stop: Event) -> Outcomes:
        """See Detecting.outcomes."""
        readers = ThreadPoolExecutor(_READERS, "read")

        def submit(number: int) -> Future[Found]:
            return self._detector.submit(self._load(number, readers, stop))

        ahead = self._detector.ahead + (_READERS if self._pictures.remote else 0)
        try:
            for number, future in in_order(numbers, submit, ahead, stop, self._pictures.size):
                yield number, outcome_of(future.result)
        except StorageFailed:
            # The pictures that follow need not wait as long.
            stop.set()
            raise
        finally:
            readers.shutdown(cancel_futures=True)

    def _load(self, number: int, readers: ThreadPoolExecutor, stop: Event) -> Callable[[], bytes]:
        """Return what returns the content of a picture when it is decoded."""
        if self._pictures.sequential:
            return read_now(self._pictures, number, stop)
        if self._pictures.remote:
            # Reading waits for the network: more threads than those that decode.
            return readers.submit(read_patiently, self._pictures, number, stop).result
        return lambda: read_patiently(self._pictures, number, stop)


def in_order(
    items: Iterable[_Item],
    submit: Callable[[_Item], Future[_Value]],
    ahead: int,
    stop: Event,
    size: Callable[[_Item], int] = lambda _: 0,
) -> Generator[tuple[_Item, Future[_Value]], None, None]:
    """Submit items, at most `ahead` before the first unfinished one; yield them in order.

    Fewer, if their sizes in bytes are more than _MOST_AHEAD_BYTES together. After `stop`, only
    those that are done already.
    """
    waiting: deque[tuple[_Item, Future[_Value]]] = deque()
    held = 0
    try:
        for item in items:
            held += size(item)
            while waiting and (len(waiting) >= ahead or held > _MOST_AHEAD_BYTES):
                held -= size(waiting[0][0])
                yield waiting.popleft()
            if stop.is_set():
                break
            waiting.append((item, submit(item)))
        while waiting and not (stop.is_set() and not waiting[0][1].done()):
            yield waiting.popleft()
    finally:
        for _, future in waiting:
            future.cancel()


def outcome_of(result: Callable[[], Found]) -> Outcome:
    """Return a result, or why the picture is a bad one; raises every other error."""
    try:
        return result()
    except (PictureError, OSError) as error:
        return BadPicture.of(error)


def read_now(pictures: Pictures, number: int, stop: Event) -> Callable[[], bytes]:
    """Read a picture; return what returns its content, or raises the error of a bad picture.

    Raises StorageFailed.
    """
    try:
        content = read_patiently(pictures, number, stop)
    except (PictureError, OSError) as error:
        failed = error

        def fail() -> bytes:
            raise failed

        return fail
    return lambda: content


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
