"""What a Detector takes as a picture: a path, the bytes of a file, or an array of pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elastic_yolo.detector.boxes import Image, Pixels

# Of red, green and blue, as in ITU-R BT.601: the Y of a JPEG file, and OpenCV's grey, with which
# AlexeyAB's fork loads pictures for a network with channels=1 (`src/image_opencv.cpp`).
GREY_WEIGHTS = (0.299, 0.587, 0.114)

PictureFile = str | os.PathLike[str] | bytes
"""The path of a picture file, or its content."""


@dataclass(frozen=True)
class Frame:
    """Pixels in memory, (height, width, 3) uint8; `is_bgr` if blue is the first channel."""

    pixels: Pixels
    is_bgr: bool


def take_input(
    picture: PictureFile | None, bgr: NDArray[Any] | None, rgb: NDArray[Any] | None
) -> bytes | Frame:
    """Return the one input of the three that is not None: the content of a file, or a frame.

    Raises TypeError for none, several, or a wrong type, ValueError for an array of another shape
    or dtype, and OSError for a file that cannot be read.
    """
    given = {"a picture": picture, "bgr=": bgr, "rgb=": rgb}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        # A program may well pass what cv2.imread returned.
        found = " and ".join(names) or "none (cv2.imread returns None for an unreadable file)"
        raise TypeError(f"expected one of a picture, bgr= and rgb=, found {found}")
    if bgr is not None:
        return Frame(_require_pixels("bgr=", bgr), is_bgr=True)
    if rgb is not None:
        return Frame(_require_pixels("rgb=", rgb), is_bgr=False)
    return _read_file(picture)


def _read_file(picture: object) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        raise TypeError(
            "an array: say which order the channels have: detect(bgr=frame) for OpenCV, "
            "detect(rgb=numpy.asarray(image)) for Pillow"
        )
    raise TypeError(
        f"expected the path or the bytes of a picture file, found {_kind(picture)}; pixels are "
        "numpy arrays: detect(bgr=frame) or detect(rgb=numpy.asarray(image))"
    )


def _require_pixels(name: str, pixels: object) -> Pixels:
    expected = "expected a (height, width, 3) numpy array of uint8"
    if not isinstance(pixels, np.ndarray):
        raise TypeError(f"{name}: {expected}, found {_kind(pixels)}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ValueError(f"{name}: {expected}, found the shape {pixels.shape}{_advice(pixels)}")
    if pixels.dtype != np.uint8:
        raise ValueError(f"{name}: {expected} from 0 to 255, found {pixels.dtype}")
    return pixels


def require_batch(images: object, size: tuple[int, int]) -> Image:
    """Return a batch for a network of this (width, height).

    Raises TypeError if it is no array, and ValueError for another shape or dtype.
    """
    width, height = size
    expected = f"expected a (n, {height}, {width}, 3) numpy array of uint8 or float32"
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images: {expected}, found {_kind(images)}")
    if images.ndim != 4 or images.shape[1:] != (height, width, 3) or not len(images):
        one = ": for one picture, image[numpy.newaxis]" if images.ndim == 3 else ""
        raise ValueError(f"images: {expected}, found the shape {images.shape}{one}")
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"images: {expected}, found {images.dtype}")
    return images


def _advice(pixels: NDArray[Any]) -> str:
    """Return what turns an array of a frequent other shape into the expected one."""
    if 0 in pixels.shape:
        return ", which has no pixels"
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 1):
        return ": for grey pixels, numpy.dstack([grey] * 3)"
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        return ": without the fourth channel, pixels[..., :3]"
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        return ": with the channels last, pixels.transpose(1, 2, 0)"
    if pixels.ndim == 4:
        return ": one picture at a time"
    return ""


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
