"""Where the pictures of a stream are detected in: this process, or the three services."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from elastic_yolo.detector.boxes import Detection
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.parallel import Found, ParallelDetector
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.stream.errors import Refused

PLAIN = Frame(np.full((64, 64, 3), 128, np.uint8), is_bgr=True)
"""A picture with which detection works, or it works with none."""


@dataclass(frozen=True)
class Answer:
    """The detections in a picture; `size` and `model` as in Result."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]
    model: Mapping[str, str]


class Detecting(Protocol):
    """Detects in several pictures at the same time."""

    window: int
    """How many pictures of a source to submit before the first one is answered."""

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
            error = CancelledError() if found.cancelled() else found.exception()
            if error is None:
                result = found.result()
                answer.set_result(Answer(result.detections, result.size, self._model))
            elif isinstance(error, PictureError | CancelledError):
                answer.set_exception(error)
            else:
                self._blame(error, answer)

        self._detector.submit(lambda: picture).add_done_callback(pass_on)
        return answer

    def close(self) -> None:
        """See Detecting.close."""
        self._detector.close()

    def _blame(self, error: BaseException, answer: Future[Answer]) -> None:
        """Answer with an error of the picture, or Refused if detection fails with a plain one too.

        An engine that is broken, as after an error of the GPU, must not turn every picture that
        waits into a dead letter.
        """

        def pass_on(plain: Future[Found]) -> None:
            reason = f"detection fails with every picture: {type(error).__name__}: {error}"
            works = not plain.cancelled() and plain.exception() is None
            answer.set_exception(error if works else Refused(reason))

        self._detector.submit(lambda: PLAIN).add_done_callback(pass_on)
