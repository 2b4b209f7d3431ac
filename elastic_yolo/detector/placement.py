"""Fit a picture into the network's input, letterboxed or stretched, and map boxes back.

`letterbox` is pjreddie's Darknet (`src/image.c`, letterbox_image, resize_image;
`src/yolo_layer.c`, correct_yolo_boxes; 2018): sizes truncate to whole pixels, resampling is
bilinear between the centres of the corner pixels and without smoothing, the margin is grey, and
mapping back subtracts half of the margin even if the margin is odd. See
docs/decisions/002-letterbox.md.

`stretch` is OpenCV's DetectionModel and the Python module of AlexeyAB's fork (`darknet.py`): the
picture fills the input whatever its aspect ratio, resampled by cv2.resize. See
docs/decisions/019-resize.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Floats, Image, InputFormat, Pixels
from elastic_yolo.names import Resize

# Darknet fills the margin with 0.5, which is 127.5 of 255; uint8 needs a whole number.
FILL = 128
EXACT_FILL = 127.5
# cv2.warpAffine rejects a source with a side of SHRT_MAX or more.
_WARP_LIMIT = 32767


@dataclass(frozen=True)
class Placement:
    """Position of an upright picture in the network's input.

    All sizes are (width, height) in pixels; `inner` is the size of the resized picture.
    """

    picture: tuple[int, int]
    network: tuple[int, int]
    inner: tuple[int, int]
    resize: Resize

    @classmethod
    def fit(cls, picture: tuple[int, int], wanted: InputFormat) -> Placement:
        """Choose the inner size: all of the input for `stretch`.

        For `letterbox` the largest one that keeps the picture's aspect ratio, at least 1x1.
        """
        (width, height), (net_width, net_height) = picture, wanted.size
        if wanted.resize == "stretch":
            return cls(picture, wanted.size, wanted.size, wanted.resize)
        # net_width / width < net_height / height, without a division that rounds
        if net_width * height < net_height * width:
            inner = net_width, height * net_width // width
        else:
            inner = width * net_height // height, net_height
        inner = max(1, inner[0]), max(1, inner[1])
        return cls(picture, wanted.size, inner, wanted.resize)

    @property
    def corner(self) -> tuple[int, int]:
        """(x, y) of the first pixel of the inner picture."""
        return (self.network[0] - self.inner[0]) // 2, (self.network[1] - self.inner[1]) // 2

    def to_network(self, boxes: Floats) -> Floats:
        """Map (n, >=4) x1 y1 x2 y2 from picture pixels to network pixels; further columns stay."""
        mapped = boxes.copy()
        mapped[:, :4] = boxes[:, :4] * self._scale() + self._margin()
        return mapped

    def to_picture(self, boxes: Floats) -> Floats:
        """Map (n, >=4) x1 y1 x2 y2 from network pixels to picture pixels; further columns stay."""
        mapped = boxes.copy()
        mapped[:, :4] = (boxes[:, :4] - self._margin()) / self._scale()
        return mapped

    def _scale(self) -> Floats:
        x, y = (inner / size for inner, size in zip(self.inner, self.picture, strict=True))
        return np.array([x, y, x, y], np.float32)

    def _margin(self) -> Floats:
        x, y = ((net - inner) / 2 for net, inner in zip(self.network, self.inner, strict=True))
        return np.array([x, y, x, y], np.float32)


def draw_input(stored: Pixels, orientation: int, place: Placement, *, exact: bool = False) -> Image:
    """Return the (height, width, 3) network input for a stored picture.

    `stored` is (h, w, 3) uint8, possibly decoded at a reduced size; `orientation` is its Exif
    orientation, applied after resizing because there are far fewer pixels to move then. The result
    is uint8, or with `exact` a letterbox is float32 with the values that Darknet computes. A
    stretched picture is uint8 in any case, because OpenCV rounds before the network.
    """
    width, height = place.inner
    size = (height, width) if orientation >= 5 else (width, height)
    if place.resize == "stretch":
        stretched = np.asarray(cv2.resize(stored, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        return np.ascontiguousarray(turn_upright(stretched, orientation), np.uint8)
    shape = (place.network[1], place.network[0], 3)
    inner: Image = resize_exactly(stored, size) if exact else resize(stored, size)
    canvas: Image = np.full(shape, EXACT_FILL if exact else FILL, inner.dtype)
    x, y = place.corner
    canvas[y : y + height, x : x + width] = turn_upright(inner, orientation)
    return canvas


def resize(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resample (h, w, 3) uint8 to `size` (width, height), corner pixels onto corner pixels."""
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    if max(width, height) >= _WARP_LIMIT:
        return np.rint(resize_exactly(pixels, size)).astype(np.uint8)
    step_x = (width - 1) / (size[0] - 1) if size[0] > 1 else 0.0
    step_y = (height - 1) / (size[1] - 1) if size[1] > 1 else 0.0
    # A single row or column is the last one of the picture, as in Darknet's loop.
    start_x = 0.0 if size[0] > 1 else width - 1.0
    start_y = 0.0 if size[1] > 1 else height - 1.0
    to_source = np.array([[step_x, 0, start_x], [0, step_y, start_y]])
    resized = cv2.warpAffine(
        pixels,
        to_source,
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(resized, np.uint8)


def resize_exactly(pixels: Pixels, size: tuple[int, int]) -> Floats:
    """Resample (h, w, 3) uint8 to `size` (width, height) as float32, at exact sample positions.

    Ten times slower than `resize`, which rounds positions to 1/32 of a source pixel.
    """
    x, next_x, part_x = _taps(size[0], pixels.shape[1])
    y, next_y, part_y = _taps(size[1], pixels.shape[0])
    # Rows first, which leaves fewer pixels for the second step.
    upper, lower = pixels[y].astype(np.float32), pixels[next_y].astype(np.float32)
    rows: Floats = upper * (1 - part_y)[:, None, None] + lower * part_y[:, None, None]
    resized: Floats = rows[:, x] * (1 - part_x)[:, None] + rows[:, next_x] * part_x[:, None]
    return resized


def _taps(size: int, source: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return for each of `size` samples the two source indices and the weight of the second."""
    at: Floats
    if size == 1:
        at = np.array([source - 1], np.float32)
    else:
        at = np.arange(size, dtype=np.float32)
        at *= np.float32((source - 1) / (size - 1))
    low = np.minimum(at.astype(np.intp), source - 1)
    part: Floats = np.subtract(at, low, dtype=np.float32)
    return low, np.minimum(low + 1, source - 1), part


def turn_upright(pixels: Image, orientation: int) -> Image:
    """Apply an Exif orientation (1 to 8) to (h, w, 3) pixels; returns a view."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
