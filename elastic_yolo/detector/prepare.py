"""Turn a picture file or a frame into a network's input array."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from elastic_yolo.detector.boxes import Image, InputFormat
from elastic_yolo.detector.decode import decode, decoding_bytes
from elastic_yolo.detector.inputs import Frame
from elastic_yolo.detector.placement import Placement, draw_input
from elastic_yolo.picture.header import read_header


def prepare_picture(
    data: bytes,
    wanted: InputFormat,
    *,
    exact: bool = False,
    memory: Callable[[int], AbstractContextManager[object]] = nullcontext,
) -> tuple[Image, Placement]:
    """Return a picture file as (height, width, 3) network input, and its place there.

    The array is uint8. With `exact` every pixel of a large JPEG is decoded, and a letterbox is
    float32: resampling does not round, as in Darknet. `memory` holds the bytes that decoding takes,
    as DecodingMemory.taken does. Raises PictureError.
    """
    header = read_header(data)
    place = Placement.fit(header.upright_size, wanted)
    needed = None if exact else place.inner
    with memory(decoding_bytes(header, needed)):
        pixels = decode(data, header, needed)
        return draw_input(pixels, header.orientation, place, exact=exact), place


def prepare_frame(
    frame: Frame, wanted: InputFormat, *, exact: bool = False
) -> tuple[Image, Placement]:
    """Return pixels as network input, and their place there, like `prepare_picture`."""
    height, width, _ = frame.pixels.shape
    place = Placement.fit((width, height), wanted)
    image = draw_input(frame.pixels, 1, place, exact=exact)
    if frame.is_bgr:
        # Reversed after resizing, because there are far fewer pixels then.
        image = np.flip(image, axis=2)
    return np.require(image, requirements="C"), place
