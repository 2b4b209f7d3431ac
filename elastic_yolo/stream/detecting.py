"""Where the pictures of a stream are detected in: this process, or the three services."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.parallel import Found, ParallelDetector


@dataclass(frozen=True)
class Answer:
    """The detections in a picture; `size` and `model` as in Result."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]
    model: Mapping[str, str]


class Detecting(Protocol):
    """Detects in several pictures at the same time."""

    window: int
    """How many pictures to submit before the first one is answered."""

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        """Detect in a picture.

        The future raises PictureError for a picture that cannot be used, Refused if no picture will
        be answered, Unavailable if it was given up because the process ends, and any other error if
        it may or may not work the next time.
        """

    def close(self) -> None:
        """End threads and connections; what is not answered yet never is."""


class InProcess:
    """Detection in the threads of this process."""

    def __init__(self, detector: ParallelDetector, *, newest_only: bool) -> None:
        """Use a detector, which `close` closes.

        With `newest_only` no more pictures are in hand than keep the engine busy: each further one
        would make all that follow older.
        """
        self.window = len(detector.engines) + 1 if newest_only else detector.ahead
        self._detector = detector
        model = detector.detector.model
        self._model = {"name": model.name, "version": model.version, "digest": model.digest}

    def submit(self, picture: bytes | Frame) -> Future[Answer]:
        """See Detecting.submit."""
        answer: Future[Answer] = Future()

        def pass_on(found: Future[Found]) -> None:
            if error := found.exception():
                answer.set_exception(error)
            else:
                result = found.result()
                answer.set_result(Answer(result.detections, result.size, self._model))

        self._detector.submit(lambda: picture).add_done_callback(pass_on)
        return answer

    def close(self) -> None:
        """See Detecting.close."""
        self._detector.close()
