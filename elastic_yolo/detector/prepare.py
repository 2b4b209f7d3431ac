"""Turn a picture file into a network's input array."""

from __future__ import annotations

from elastic_yolo.detector.boxes import Image
from elastic_yolo.detector.decode import decode
from elastic_yolo.detector.letterbox import Letterbox, draw_letterbox
from elastic_yolo.picture.header import read_header


def prepare_picture(
    data: bytes, network_size: tuple[int, int], *, exact: bool = False
) -> tuple[Image, Letterbox]:
    """Return a picture file as (height, width, 3) network input, and its letterbox.

    `network_size` is (width, height). The array is uint8; with `exact` it is float32: every pixel
    of a large JPEG is decoded and resampling does not round, as in Darknet. Raises PictureError.
    """
    header = read_header(data)
    box = Letterbox.fit(header.upright_size, network_size)
    pixels = decode(data, header, None if exact else box.inner)
    return draw_letterbox(pixels, header.orientation, box, exact=exact), box
