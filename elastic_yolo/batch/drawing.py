"""Pictures with boxes, for `--format drawn`: a file for each, written before its shard is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

from elastic_yolo.batch.detecting import (
    BadPicture,
    Outcome,
    Outcomes,
    in_order,
    read_now,
    read_patiently,
)
from elastic_yolo.batch.formats import drawn_name
from elastic_yolo.batch.output import Output
from elastic_yolo.batch.pictures import KeptPictures, Pictures
from elastic_yolo.detector.decode import decode_upright, decoding_bytes
from elastic_yolo.detector.decoding_memory import DecodingMemory
from elastic_yolo.detector.detector import available_cpus
from elastic_yolo.detector.parallel import Found
from elastic_yolo.picture.drawing import draw_boxes
from elastic_yolo.picture.drawn_types import JPEG
from elastic_yolo.picture.errors import PictureError
from elastic_yolo.picture.header import read_header

_DRAWING_BYTES = 512 * 2**20


class Drawing:
    """Writes pictures with boxes, in several threads."""

    def __init__(self, pictures: Pictures, output: Output) -> None:
        """Read from `pictures`, write to `output`."""
        self._pictures = pictures
        self._output = output
        self._memory = DecodingMemory(_DRAWING_BYTES)

    def drawn(self, found: Outcomes, stop: Event) -> Outcomes:
        """Yield the outcomes once their pictures are written; or why one cannot be drawn."""
        cpus = available_cpus()
        drawing = ThreadPoolExecutor(cpus, "draw")

        def submit(item: tuple[int, Outcome]) -> Future[Outcome]:
            number, outcome = item
            return drawing.submit(self._draw, number, outcome, self._load(number, outcome, stop))

        try:
            for (number, _), future in in_order(found, submit, 2 * cpus, stop):
                yield number, future.result()
        finally:
            drawing.shutdown(cancel_futures=True)

    def _load(self, number: int, outcome: Outcome, stop: Event) -> Callable[[], bytes]:
        """Return what returns the content of a picture when it is drawn."""
        if isinstance(self._pictures, KeptPictures):
            content = self._pictures.take(number)
            if content is not None:
                return lambda: content
        if self._pictures.sequential and isinstance(outcome, Found):
            return read_now(self._pictures, number, stop)
        return lambda: read_patiently(self._pictures, number, stop)

    def _draw(self, number: int, outcome: Outcome, load: Callable[[], bytes]) -> Outcome:
        target = drawn_name(self._pictures.names[number])
        drawn = self._with_boxes(outcome, load) if isinstance(outcome, Found) else outcome
        if isinstance(drawn, BadPicture):
            # A run that was killed may have drawn it, when it could still be read.
            self._output.remove(target)
            return drawn
        self._output.write(target, drawn)
        return outcome

    def _with_boxes(self, found: Found, load: Callable[[], bytes]) -> bytes | BadPicture:
        boxes = [(item.label, item.score, item.box) for item in found.detections]
        try:
            content = load()
            with self._memory.taken(decoding_bytes(read_header(content))):
                return draw_boxes(decode_upright(content), boxes, JPEG)
        except (PictureError, OSError) as error:
            return BadPicture.of(error)
