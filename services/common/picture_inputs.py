"""Picture files as network inputs: decoded and resized in worker threads, within a memory limit.

Preprocess and inference import it. Web does not: it has no decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from elastic_yolo.detector.boxes import Image, InputFormat
from elastic_yolo.detector.decode import decode, decoding_bytes
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.picture.errors import PictureTooLarge
from elastic_yolo.picture.header import PictureHeader, check_pixels, read_header
from services.common.queue import ByteBudget, WorkQueue
from services.common.request.context import RequestContext

# Memory for the pictures that are being decoded, all together: enough for one of the largest size
# in any common format, see `decoding_bytes`. An attack: a WebP of 2.5 KB has 64 megapixels and
# cannot be decoded smaller; eight at once took more than the memory limit of the pod.
_BYTES_PER_PIXEL = 8
# Of that memory, the part that a small picture takes at most: 8 MB by default.
_SMALL_PARTS = 64
# A larger picture takes so long to decode, even smaller, that other threads should do it meanwhile:
# of two callers, one after the other has the network for itself, and a core would be idle.
_SMALL_PIXELS = 2_000_000


@dataclass(frozen=True)
class Preparation:
    """The work that makes network input of one picture file."""

    place: Placement
    size: int
    """Memory that it takes, in bytes."""
    pixels: int
    """Of the file, which may be decoded smaller."""
    run: Callable[[], Image]
    """Returns (height, width, 3) uint8; raises PictureError."""


@dataclass(frozen=True)
class PictureInputs:
    """Makes network inputs of picture files."""

    queue: WorkQueue
    memory: ByteBudget
    """What pictures that are being decoded take, those of `queue` and of others."""
    max_pixels: int

    @classmethod
    def start(cls, *, workers: int, max_waiting: int, max_pixels: int) -> Self:
        """Return a queue whose threads run; `max_pixels` limits each picture."""
        memory = decoding_memory(max_pixels)
        queue = WorkQueue("decode_queue", workers=workers, max_waiting=max_waiting, memory=memory)
        return cls(queue, memory, max_pixels)

    def read_header(self, data: bytes) -> PictureHeader:
        """Return the header of a picture within the limit on pixels; raises PictureError."""
        header = read_header(data)
        check_pixels(header, self.max_pixels)
        return header

    def plan(
        self, context: RequestContext, data: bytes, header: PictureHeader, wanted: InputFormat
    ) -> Preparation:
        """Return the work on a picture; raises PictureTooLarge if it takes too much memory."""
        place = Placement.fit(header.upright_size, wanted)

        def prepare_input() -> Image:
            with context.timings.measure("decode"):
                pixels = decode(data, header, place.inner)
            # Dashboards and traces use this name, also for a stretched picture.
            with context.timings.measure("letterbox"):
                return draw_input(pixels, header.orientation, place)

        size = decoding_bytes(header, place.inner)
        require_fitting(size, self.memory)
        return Preparation(place, size, header.width * header.height, prepare_input)

    def is_small(self, planned: Preparation) -> bool:
        """Return whether the thread that runs the network may do this work, without a queue.

        It takes little time, and so little memory that a few threads need not ask for it.
        """
        fits = planned.size * _SMALL_PARTS <= self.memory.limit
        return fits and planned.pixels <= _SMALL_PIXELS

    async def prepare(self, context: RequestContext, planned: Preparation) -> Image:
        """Run the work in a worker thread; raises PictureError, or as `WorkQueue.run_job` does."""
        return await self.queue.run_job(context, planned.run, planned.size)


def decoding_memory(max_pixels: int) -> ByteBudget:
    """Return the memory of a process that accepts pictures of `max_pixels` pixels."""
    return ByteBudget(_BYTES_PER_PIXEL * max_pixels)


def require_fitting(size: int, memory: ByteBudget) -> None:
    """Raise PictureTooLarge if a picture takes more memory than there is for all."""
    if size > memory.limit:
        raise PictureTooLarge(
            f"the picture takes {size / 1e6:,.0f} MB of memory to decode and to draw, the limit is "
            f"{memory.limit / 1e6:,.0f} MB: send a smaller one, or in another format"
        )
