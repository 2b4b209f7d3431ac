"""The picture with the boxes drawn into the pixels that they were found in."""

from __future__ import annotations

from dataclasses import dataclass

from elastic_yolo.detector.decode import decode_upright, decoding_bytes
from elastic_yolo.picture.drawn_types import JPEG, PNG, check_drawable, drawing_bytes
from elastic_yolo.picture.errors import PictureNotDrawable
from elastic_yolo.picture.header import read_header
from services.common.picture_inputs import require_fitting
from services.common.queue import ByteBudget, WorkQueue
from services.common.request.context import RequestContext
from services.preprocess.pipeline import Processed

# One worker draws all, so that drawing does not delay those who want JSON.
_MAX_WAITING = 32
# Web accepts responses of 64 MiB.
_MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Drawing:
    """Draws pictures in a queue of its own."""

    queue: WorkQueue
    memory: ByteBudget

    @classmethod
    def start(cls, memory: ByteBudget) -> Drawing:
        """Return a queue whose jobs share `memory` with others."""
        queue = WorkQueue("drawing_queue", workers=1, max_waiting=_MAX_WAITING, memory=memory)
        return cls(queue, memory)

    def check(self, data: bytes, media_type: str) -> None:
        """Raise PictureError for a picture that cannot be drawn, before anything is detected."""
        header = read_header(data)
        check_drawable(header.upright_size, media_type)
        require_fitting(self._size(data, media_type), self.memory)

    async def draw(
        self, context: RequestContext, data: bytes, processed: Processed, media_type: str
    ) -> bytes:
        """Return the picture with boxes as a file; raises PictureError, or as `run_job` does."""

        def decode_and_draw() -> bytes:
            # Only who wants a picture pays for the modules that draw.
            from elastic_yolo.picture.drawing import draw_boxes  # noqa: PLC0415

            found = [(one.label, one.score, one.box) for one in processed.detections]
            return draw_boxes(decode_upright(data), found, media_type)

        drawn = await self.queue.run_job(context, decode_and_draw, self._size(data, media_type))
        if len(drawn) > _MAX_BYTES:
            hint = f"ask for {JPEG}" if media_type == PNG else "send a smaller picture"
            raise PictureNotDrawable(
                f"the drawn picture has {len(drawn):,} bytes, the limit is {_MAX_BYTES:,}: {hint}"
            )
        return drawn

    @staticmethod
    def _size(data: bytes, media_type: str) -> int:
        header = read_header(data)
        return max(decoding_bytes(header), drawing_bytes(header.width * header.height, media_type))
