"""Detection in many pictures at once: decoding runs ahead, and every stream of the engine works.

`elastic-yolo batch` and `elastic-yolo stream` run it. It limits the memory of decoding, but not the
number of pictures that wait: callers submit no more than they can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Self

import numpy as np

from elastic_yolo.detector.boxes import Detection, Floats, Image, name_detections
from elastic_yolo.detector.decoding_memory import DecodingMemory
from elastic_yolo.detector.detector import Detector, available_cpus
from elastic_yolo.detector.engines.base import Engine
from elastic_yolo.detector.errors import EngineError
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.placement import Placement
from elastic_yolo.detector.prepare import prepare_frame, prepare_picture

Load = Callable[[], bytes | Frame]
"""Returns the content of a picture file, or pixels; runs in a decoding thread."""

# What a GPU runs at once. More gains little, and takes memory: docs/performance.md.
MOST_BATCHED = 16
_DECODING_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Found:
    """The result for one picture; `size` is (width, height) of the upright picture in pixels."""

    detections: tuple[Detection, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class Parameters:
    """How to detect; see Detector.detect. None is the model's own threshold or IoU."""

    threshold: float | None = None
    iou: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class _Prepared:
    """A picture as network input, (height, width, 3), its place there, and who waits for it."""

    image: Image
    place: Placement
    result: Future[Found]


class ParallelDetector:
    """A detector for many pictures at once; a context manager that ends its threads."""

    def __init__(
        self,
        detector: Detector,
        parameters: Parameters = Parameters(),
        *,
        threads: int | None = None,
        streams: int | None = None,
        decoding_bytes: int = _DECODING_BYTES,
    ) -> None:
        """Start the threads.

        `threads` decode: by default one for each CPU. `streams` is how many pictures the engine
        works on at the same time, each with its share of the engine's threads: by default as many
        as `threads`, if the engine gains from it; with 1, all threads work on one picture, which
        takes the shortest time for each. `decoding_bytes` limits the memory of all pictures that
        are decoded at the same time.
        """
        self.detector = detector
        model = detector.model
        self._threshold = model.threshold if parameters.threshold is None else parameters.threshold
        self._iou = model.iou if parameters.iou is None else parameters.iou
        self._exact = parameters.exact
        self._memory = DecodingMemory(decoding_bytes)
        self._prepared: SimpleQueue[_Prepared | None] = SimpleQueue()
        self._threads = available_cpus() if threads is None else threads
        wanted = self._threads if streams is None else streams
        engines = detector.engine.split(wanted) if wanted > 1 else []
        self.engines = engines or [detector.engine]
        self._decoding = ThreadPoolExecutor(self._threads, "decode")
        self._running = [
            Thread(target=self._run, args=(engine,), name=f"engine-{number}", daemon=True)
            for number, engine in enumerate(self.engines)
        ]
        for thread in self._running:
            thread.start()

    @property
    def ahead(self) -> int:
        """How many pictures to submit so that no engine waits for a decoded picture."""
        batch = MOST_BATCHED if self.engines[0].batches else 1
        return 2 * self._threads + 4 * batch * len(self.engines)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads; pictures that were not started yet are cancelled."""
        self.close()

    def close(self) -> None:
        """End the threads; pictures that were not started yet are cancelled."""
        self._decoding.shutdown(wait=True, cancel_futures=True)
        for _ in self._running:
            self._prepared.put(None)
        for thread in self._running:
            thread.join()

    def submit(self, load: Load) -> Future[Found]:
        """Detect in a picture; the future has the result, or what `load` and decoding raised.

        That is PictureError for a picture that cannot be used; or EngineError, or MemoryError.
        """
        result: Future[Found] = Future()
        decoding = self._decoding.submit(self._prepare, load, result)
        # A caller must not wait for a picture that `close` removed from the queue.
        decoding.add_done_callback(lambda _: _end_if_cancelled(decoding, result))
        return result

    def _prepare(self, load: Load, result: Future[Found]) -> None:
        if not result.set_running_or_notify_cancel():
            return
        try:
            source, wanted = load(), self.detector.model.input_format
            if isinstance(source, Frame):
                image, place = prepare_frame(source, wanted, exact=self._exact)
            else:
                image, place = prepare_picture(
                    source, wanted, exact=self._exact, memory=self._memory.taken
                )
        except BaseException as error:  # noqa: BLE001  # the waiting caller gets it
            result.set_exception(error)
        else:
            self._prepared.put(_Prepared(image, place, result))

    def _run(self, engine: Engine) -> None:
        while (first := self._prepared.get()) is not None:
            batch = [first, *(self._further() if engine.batches else [])]
            try:
                found = self._detect(engine, batch)
            except BaseException as error:  # noqa: BLE001  # the waiting callers get it
                for one in batch:
                    one.result.set_exception(error)
            else:
                for one, result in zip(batch, found, strict=True):
                    one.result.set_result(result)

    def _further(self) -> list[_Prepared]:
        """Return what else is decoded already."""
        found: list[_Prepared] = []
        while len(found) < MOST_BATCHED - 1:
            try:
                one = self._prepared.get_nowait()
            except Empty:
                break
            if one is None:
                # The mark of the end is for the loop.
                self._prepared.put(None)
                break
            found.append(one)
        return found

    def _detect(self, engine: Engine, batch: list[_Prepared]) -> list[Found]:
        images: Image = np.concatenate([one.image[np.newaxis] for one in batch])
        outputs = _execute(engine, images)
        rows = self.detector.postprocess(outputs, self._threshold, self._iou)
        labels = self.detector.model.labels
        return [
            Found(tuple(name_detections(one.place.to_picture(found), labels)), one.place.picture)
            for one, found in zip(batch, rows, strict=True)
        ]


def _end_if_cancelled(decoding: Future[None], result: Future[Found]) -> None:
    if decoding.cancelled() and result.cancel():
        result.set_running_or_notify_cancel()


def _execute(engine: Engine, images: Image) -> list[Floats]:
    try:
        return engine.execute(images)
    except (EngineError, MemoryError):
        raise
    except Exception as error:
        # The engines' own exceptions have no common base class.
        raise EngineError(f"{engine.name} cannot run the network: {error}") from error
